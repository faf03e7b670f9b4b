"""Options and files that several commands share."""

import os
from pathlib import Path
from typing import Annotated

import typer

from beam_jobs.errors import UserError
from beam_jobs.paths import local_path

CorpusRoot = Annotated[str, typer.Argument(help="Corpus folder: LibriSpeech, Common Voice, VoxCeleb or utterances.csv.")]
Config = Annotated[Path, typer.Option(parser=local_path, metavar="FILE", help="YAML file, such as pipeline/configs/demo.yaml.")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override one key of the YAML file.")]
WorkFolder = Annotated[
    Path, typer.Option("--workdir", parser=local_path, metavar="DIR", help="Folder for everything that runs make.")
]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, as `audio-gender runs` lists it.")]
JsonFile = Annotated[
    Path | None, typer.Option("--json", parser=local_path, metavar="FILE", help="Write the result to this file too, for scripts.")
]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who decides.")]
Note = Annotated[str, typer.Option("--note", metavar="TEXT", help="Why; kept in the metadata store.")]


def check_writable(path: Path) -> None:
    """Says so at once where the file of `--json` cannot be written.

    Raises:
        UserError: it cannot.
    """
    # A run takes minutes to hours: its result must not be lost to a mistyped path at its end.
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UserError(f"{path}: cannot be written; give another file to --json")


def write(path: Path, text: str, option: str = "--json") -> None:
    """Writes what an option asks for to its file.

    Raises:
        UserError: it cannot be written.
    """
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); give another file to {option}") from None
