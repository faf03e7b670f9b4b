"""`audio-gender run`: the whole pipeline."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options import Config, JsonFile, Settings, WorkFolder, check_writable, write


def run(
    config: Config,
    corpus: Annotated[str | None, typer.Option(help="Corpus root; without it the configuration's synthetic corpus.")] = None,
    workdir: WorkFolder = Path("work"),
    json_file: JsonFile = None,
    settings: Settings = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a training that was killed, after its last finished epoch.")
    ] = False,
) -> None:
    """Run the whole pipeline: corpus, clips, training, evaluation, push."""
    from pipeline.config import load_config

    resolved = load_config(config, settings or ())
    if json_file:
        check_writable(json_file)
    from pipeline.result import show
    from pipeline.run import run as run_pipeline

    result = run_pipeline(resolved, corpus, workdir, resume)
    if json_file:
        write(json_file, result.model_dump_json(indent=1))
    show(result)
