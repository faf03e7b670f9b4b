"""The console command `audio-gender`."""

import sys

import typer

from beam_jobs.console import console
from beam_jobs.errors import UserError
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
    """Runs the command line; a UserError is one line and exit status 2."""
    try:
        app()
    except UserError as error:
        console.print(f"error: {error}", markup=False, style="red")
        sys.exit(2)
