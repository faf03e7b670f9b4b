# SPDX-License-Identifier: Apache-2.0
"""`audio-gender config …`: a configuration to start from, checked, and as a run would see it."""

from pathlib import Path
from typing import Annotated

import typer

from beam_jobs.command_line import command
from beam_jobs.console import say, tell
from beam_jobs.errors import UserError
from pipeline.commands.options import Settings, check_beam

app = typer.Typer(no_args_is_help=True, help="Configurations.")

ConfigFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="YAML file, or the name of one that comes with the package, such as demo.")
]


@app.command()
def init(file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML file to write.")]) -> None:
    """Write a configuration to start from: every key there is, with its default."""
    from pipeline.starter import starting_point

    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(starting_point())
    except FileExistsError:
        raise UserError(f"{file}: already there; give another name or remove it") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be written ({error.strerror}); give another file") from None
    say(f"next: change {file}, then `{command('config', 'check', file)}`")


@app.command()
def check(file: ConfigFile, settings: Settings = None) -> None:
    """Say whether a configuration is valid, as a whole."""
    from pipeline.config import load_config

    config = load_config(file, settings or ())
    check_beam(config)
    clips = config.clips
    counts = clips.num_clips
    tell(
        f"{file}: valid; {counts.train} + {counts.eval} + {counts.test} clips of {clips.duration_s:g} s, "
        f"{config.model.architecture}, {config.train.epochs} epochs at most"
    )


@app.command()
def show(file: ConfigFile, settings: Settings = None) -> None:
    """Print a configuration with every default written out, as a run would see it."""
    from pipeline.config import load_config

    print(load_config(file, settings or ()).to_yaml(), end="")
