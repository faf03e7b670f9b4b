# SPDX-License-Identifier: Apache-2.0
"""`audio-gender export`: a model for other runtimes."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from beam_jobs.console import noise_to, say, tell
from beam_jobs.paths import local_path
from pipeline.commands.options import WorkFolder


def export(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="A version in serving, or the folder of a SavedModel.")],
    target: Annotated[Literal["tflite", "onnx"], typer.Option("--to", help="TensorFlow Lite or ONNX.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", parser=local_path, metavar="FILE", help="Default: audio-gender-VERSION.tflite or .onnx in this folder."
        ),
    ] = None,
    check: Annotated[
        list[str] | None,
        typer.Option("--check", metavar="PATH", help="Compare answers for this recording; default: clips of the work folder."),
    ] = None,
    workdir: WorkFolder = Path("work"),
) -> None:
    """Write a model as one file for phones, browsers and other runtimes, once it gives the served model's answers there."""
    from beam_jobs.dataset import INFO_FILE
    from components.pusher.serving_folder import version_folder
    from pipeline.workdir import WorkDir

    work = WorkDir.at(workdir)
    folder = Path(version) if (Path(version) / "saved_model.pb").is_file() else version_folder(work.serving, version)
    clips = [str(path.parent) for path in sorted(work.clips.glob(f"*/{INFO_FILE}"), key=lambda path: -path.stat().st_mtime)]
    path = output or Path(f"audio-gender-{folder.name}.{target}")
    say(f"converting {folder} and comparing its answers (half a minute)")
    with noise_to(Path(os.devnull)):
        from components.export.export import export_model  # TensorFlow talks as it is loaded

        made = export_model(folder, target, path, check or clips[:1])
    tell(
        f"{made.path}: {made.num_bytes / 1e6:.1f} MB; float32 [samples] at {made.sample_rate_hz} Hz -> `probabilities` of "
        f"{', '.join(made.classes)}, and `speech`"
    )
    tell(f"compared for {made.recordings} recordings: it differs from the served model by {made.difference:.1g} at most")
