"""The console command `audio-gender`."""

import typer

from beam_jobs.ending import one_line_ending
from pipeline.commands import clips, corpus, decisions, kubeflow, run, runs

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From recordings to a gated model.",
)
app.add_typer(corpus.app, name="corpus")
app.add_typer(clips.app, name="clips")
app.command()(run.run)
app.command()(runs.runs)
app.command()(runs.review)
app.command()(decisions.approve)
app.command()(decisions.reject)
app.command()(decisions.rollback)
app.command("compile")(kubeflow.compile_)
app.command()(kubeflow.submit)


def main() -> None:
    """Runs the command line; what ends it early is one line and an exit status (`beam_jobs.ending`)."""
    with one_line_ending():
        app()
