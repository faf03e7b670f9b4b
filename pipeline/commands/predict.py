# SPDX-License-Identifier: Apache-2.0
"""`audio-gender predict`: what recordings are."""

from pathlib import Path
from typing import Annotated

import typer

from beam_jobs.errors import UserError
from beam_jobs.paths import local_path
from pipeline.formats import Format


def predict(
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="PATH", help="Recordings, folders or patterns; - reads a recording from stdin.")
    ] = None,
    serving: Annotated[
        Path, typer.Option(parser=local_path, metavar="DIR", help="Serving folder, or the folder of one version.")
    ] = Path("work/serving"),
    version: Annotated[
        str | None, typer.Option("--model", metavar="VERSION", help="Version in the serving folder; default: the newest.")
    ] = None,
    timeline: Annotated[
        bool, typer.Option("--timeline", help="Show who speaks when, to half a second, and for how long.")
    ] = False,
    how: Annotated[Format, typer.Option("--format", help="textgrid (Praat) and audacity are timelines.")] = Format.TABLE,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", parser=local_path, metavar="DIR", help="Folder for textgrid and audacity, one file per recording."
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(parser=local_path, metavar="FILE", help="Write a page with waveform, timeline and player to this file."),
    ] = None,
    stream: Annotated[
        bool,
        typer.Option("--stream", help="Answer every second of stdin (WAV, or 16-bit mono PCM at --rate) with a line of JSON."),
    ] = False,
    microphone: Annotated[bool, typer.Option("--microphone", help="Answer each second of the microphone, until Ctrl-C.")] = False,
    rate: Annotated[int, typer.Option(min=4000, max=192_000, metavar="HZ", help="Sample rate of PCM on stdin.")] = 16_000,
    band: Annotated[
        float,
        typer.Option(
            "--uncertain", min=0, max=0.5, metavar="BAND", help="Answer `uncertain` below a probability of 0.5 + BAND; 0: never."
        ),
    ] = 0.1,
) -> None:
    """Label recordings, each with a probability and the share of it that is speech.

    A recording that cannot be read is reported on stderr; the others are answered, and the exit status is 2.
    """
    live = stream or microphone
    _check(paths or [], how, timeline, output, html, stream, microphone)
    from components.pusher.serving_folder import version_folder
    from pipeline.predictions import listen_to, predict_files

    folder = version_folder(serving, version) if version else serving
    if live:
        listen_to(folder, band, None if microphone else rate)
        return
    unread = predict_files(folder, band, paths or [], how, timeline or how in (Format.TEXTGRID, Format.AUDACITY), output, html)
    if unread:
        raise typer.Exit(2)


def _check(
    paths: list[str], how: Format, timeline: bool, output: Path | None, html: Path | None, stream: bool, microphone: bool
) -> None:
    if stream or microphone:
        option = "--stream" if stream else "--microphone"
        if stream and microphone:
            raise UserError("--stream and --microphone cannot be used together")
        if html or output or timeline or how not in (Format.TABLE, Format.JSONL):
            raise UserError(f"{option} writes one line of JSON per second; leave out --timeline, --format, --output and --html")
        if paths != (["-"] if stream else []):
            raise UserError("--stream reads stdin: `audio-gender predict - --stream`" if stream else "--microphone takes no PATH")
    elif not paths:
        raise UserError("no recording given; name files or folders, or use --microphone")
    if output and how not in (Format.TEXTGRID, Format.AUDACITY):
        raise UserError(f"--output is for --format textgrid and audacity; {how} goes to stdout")
