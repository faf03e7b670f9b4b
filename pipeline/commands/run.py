# SPDX-License-Identifier: Apache-2.0
"""`audio-gender run`: the whole pipeline."""

from pathlib import Path
from typing import Annotated

import typer

from beam_jobs.console import say
from pipeline.commands.options import Config, JsonFile, Settings, WorkFolder, check_beam, check_writable, write_json

REFUSED = 3
"""Exit status of a run whose model the gate refused: it did what it was asked to, but there is nothing new to serve."""


def run(
    config: Config,
    corpus: Annotated[str | None, typer.Option(help="Corpus folder; default: the synthetic corpus of the configuration.")] = None,
    workdir: WorkFolder = Path("work"),
    json_file: JsonFile = None,
    settings: Settings = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue a training that was killed, after its last finished epoch.")
    ] = False,
    name: Annotated[str, typer.Option(help="Name of the run in the list of runs.")] = "",
    tags: Annotated[list[str] | None, typer.Option("--tag", help="Tag to find the run by; can be given several times.")] = None,
    dry: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Only say what would run, how much disk and time it needs, and whether there is enough space."
        ),
    ] = False,
) -> None:
    """Run the whole pipeline: corpus, clips, training, evaluation, push.

    Exit status: 0 the model was pushed, waits for approval or is on trial, 3 the gate refused it, 2 a mistake you can correct.
    """
    from pipeline.config import load_config

    resolved = load_config(config, settings or ())
    check_beam(resolved)
    if dry:
        from pipeline.dry_run import dry_run

        dry_run(resolved, corpus, workdir)
        return
    if json_file:
        check_writable(json_file)
    from pipeline.run import run as run_pipeline
    from pipeline.run_summary import next_step, show
    from pipeline.workdir import WorkDir

    result = run_pipeline(resolved, corpus, workdir, resume, name, tags or ())
    if write_json(json_file, result.model_dump_json(indent=1)):
        from pipeline.finish import gate_of

        show(result, gate_of(WorkDir.at(workdir), result.run_id))
    say(f"next: {next_step(result)}")
    if result.verdict == "refused":
        raise typer.Exit(REFUSED)
