# SPDX-License-Identifier: Apache-2.0
"""Options and files that several commands share."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beam_jobs.errors import UserError
from beam_jobs.paths import local_path

if TYPE_CHECKING:
    from pipeline.config import PipelineConfig

CorpusRoot = Annotated[
    str, typer.Argument(help="Corpus folder: LibriSpeech, Common Voice, VoxCeleb, utterances.csv or one for each label.")
]
LabelColumn = Annotated[
    str | None, typer.Option(metavar="NAME", help="Column of the corpus's list that holds the labels, such as accents.")
]
LabelPerRecording = Annotated[
    bool, typer.Option("--label-per-recording", help="One speaker's recordings may have different labels, as a mood or a word.")
]
SpeakerPattern = Annotated[
    str | None,
    typer.Option(
        metavar="REGEX",
        help="In a folder for each label: finds the speaker in the path by its group `speaker`; default: every file is one.",
    ),
]
Feedback = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="A list of recordings that users labelled (path,label,who), which join the corpus."),
]
Config = Annotated[
    Path,
    typer.Option(
        parser=local_path,
        metavar="FILE",
        help="YAML file, or one that comes with the package: demo, librispeech-mini, librispeech.",
    ),
]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override one key of the YAML file.")]
WorkFolder = Annotated[
    Path, typer.Option("--workdir", parser=local_path, metavar="DIR", help="Work folder, with everything that runs write.")
]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, as `audio-gender runs` lists it.")]
JsonFile = Annotated[
    Path | None,
    typer.Option(
        "--json",
        parser=local_path,
        metavar="FILE",
        help="Write the result to this file too, for scripts; - is stdout, which then holds nothing else.",
    ),
]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who decides (required).")]
PublicKey = Annotated[
    Path | None,
    typer.Option(
        "--public-key",
        parser=local_path,
        metavar="FILE",
        envvar="AUDIO_GENDER_PUBLIC_KEY",
        help="Serve or use only versions signed with the matching private key.",
    ),
]
Host = Annotated[str, typer.Option(metavar="URL", help="Address of Kubeflow Pipelines.")]
Namespace = Annotated[str, typer.Option(help="Namespace of the runs; with Kubeflow profiles, the user's.")]
ServiceAccount = Annotated[str | None, typer.Option(help="Service account of the steps; default: Kubeflow's own.")]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        parser=local_path, metavar="FILE", envvar="KF_PIPELINES_SA_TOKEN_PATH", help="File with a bearer token for Kubeflow."
    ),
]
Cookies = Annotated[str | None, typer.Option(envvar="KF_PIPELINES_COOKIES", hidden=True)]
"""In the environment alone, so that they are in no shell's history."""
Note = Annotated[str, typer.Option("--note", metavar="TEXT", help="Why; kept in the metadata store.")]


STDOUT = Path("-")


def check_beam(config: "PipelineConfig") -> None:
    """Holds the section `beam` against Beam itself.

    Raises:
        UserError: Beam refuses an option, or the pipeline's workers would not find its artifacts.
    """
    from beam_jobs.running import check_beam_options, temp_location

    for options in (config.beam.clips, config.beam.pipeline):
        check_beam_options(options)
    temp_location(config.beam.pipeline)


def check_writable(path: Path) -> None:
    """Says so at once where the file of `--json` cannot be written.

    Raises:
        UserError: it cannot.
    """
    # A run takes minutes to hours: its result must not be lost to a mistyped path at its end.
    if path != STDOUT and (path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK)):
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


def write_json(path: Path | None, text: str) -> bool:
    """Writes what `--json` asks for, if it was given. Returns whether stdout is free for tables.

    Raises:
        UserError: the file cannot be written.
    """
    if path == STDOUT:
        sys.stdout.write(text + "\n")
    elif path is not None:
        write(path, text)
    return path != STDOUT
