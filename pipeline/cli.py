# SPDX-License-Identifier: Apache-2.0
"""The console command `audio-gender`."""

from typing import Annotated

import typer

from beam_jobs.console import tell
from beam_jobs.ending import one_line_ending
from pipeline.commands import clips, config, corpus, decisions, export, kubeflow, lineage, predict, prune, run, runs, serve, watch

app = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="From recordings to a gated model.",
    epilog="Exit status: 0 done; 1 a run on Kubeflow failed, or a bug with its traceback; 2 a mistake that you can correct, in "
    "one line; 3 the gate refused the model of `run`, or `watch` raised an alarm.",
)
app.add_typer(corpus.app, name="corpus")
app.add_typer(clips.app, name="clips")
app.add_typer(config.app, name="config")
app.command()(run.run)
app.command()(predict.predict)
app.add_typer(runs.app, name="runs")
app.command()(prune.prune)
app.command()(runs.review)
app.command()(decisions.approve)
app.command()(decisions.reject)
app.command()(decisions.rollback)
app.command()(lineage.lineage)
app.command()(serve.serve)
app.command()(watch.watch)
app.command()(export.export)
app.command("compile")(kubeflow.compile_)
app.command()(kubeflow.submit)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        from components.pusher.provenance import code_revision

        tell(f"audio-gender {version('audio-gender')} ({code_revision()})")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """What may stand before any command."""


def main() -> None:
    """Runs the command line; what ends it early is one line and an exit status (`beam_jobs.ending`)."""
    with one_line_ending():
        app()
