# SPDX-License-Identifier: Apache-2.0
"""The work of `audio-gender predict`: asks a model about recordings and writes what it says."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from beam_jobs.audio import AudioError
from beam_jobs.console import noise_to, progress, say, tell
from beam_jobs.errors import UserError
from beam_jobs.spreadsheet import csv_rows
from beam_jobs.visible import visible
from pipeline.commands.options import write
from pipeline.formats import Format
from pipeline.recordings import STDIN, NotFoundError, find_recordings
from pipeline.sources import microphone, stdin_file, stdin_stream
from pipeline.table import print_table

if TYPE_CHECKING:
    from components.inference import Model, Prediction, Timeline
    from components.inference.page import Recording

SUFFIXES = {Format.TEXTGRID: ".TextGrid", Format.AUDACITY: ".txt"}


def predict_files(
    folder: Path, band: float, paths: Sequence[str], how: Format, timeline: bool, output: Path | None, html: Path | None
) -> int:
    """Answers for recordings, one after the other.

    Args:
        folder: of the model, as `load_model` takes it.
        band: what is uncertain.
        paths: files, folders, patterns and `-`.
        how: the format.
        timeline: segments too.
        output: where files of one recording each go.
        html: the page to write.

    Returns:
        How many could not be read.

    Raises:
        UserError: there is no model, or what is written cannot be.
    """
    with ExitStack() as stack, _quiet() as out:
        names, missing = _recordings(paths)
        if how in SUFFIXES and output is None and len(names) > 1:
            raise UserError(f"--format {how} writes one file per recording, and there are {len(names)}; add --output DIR")
        model = _load(folder, band)
        if timeline or html:
            model.check_timeline()
        writer = _Writer(model, how, timeline, output, out)
        heard = []
        with progress("listening", len(names), "files") as advance:
            for name in names:
                path = stack.enter_context(stdin_file()) if name == STDIN else name
                heard.append(_hear(model, name, path, timeline or html is not None))
                writer.add(heard[-1])
                advance()
        if html:
            from components.inference.page import timelines_page

            write(html, timelines_page(heard, model), "--html")
        writer.end()
    writer.tables(heard)
    if html:
        say(f"next: open {html} in a browser")
    return missing + sum(bool(recording.timeline.prediction.error) for recording in heard)


def _recordings(paths: Sequence[str]) -> tuple[list[str], int]:
    """Those that the paths mean, and how many paths mean none or folders cannot be read."""
    names: list[str] = []
    missing: list[str] = []
    for path in paths:
        try:
            names += find_recordings(path, missing.append)
        except NotFoundError as error:
            missing.append(str(error))
    for line in missing:
        say(line)
    return names, len(missing)


def _load(folder: Path, band: float) -> "Model":
    from components.inference import load_model

    return load_model(folder, band)


def _hear(model: "Model", name: str, path: str, timeline: bool) -> "Recording":
    from components.inference import Timeline
    from components.inference.page import Recording

    found = model.timeline(path) if timeline else Timeline(model.predict(path), (), {})
    if error := found.prediction.error:
        say(f"{name}: {error}")
    # A name of bytes that are not UTF-8 is nothing that can be written down.
    return Recording(os.fsencode(name).decode(errors="backslashreplace"), path, found)


class _Writer:
    """What is written of each recording as soon as it was heard, and at the end."""

    def __init__(self, model: "Model", how: Format, timeline: bool, output: Path | None, out: TextIO) -> None:
        from components.inference import formats

        self._formats, self._how, self._timeline, self._output, self._out = formats, how, timeline, output, out
        self._columns = formats.SEGMENT_COLUMNS if timeline else formats.prediction_columns(model.classes)
        self._objects: list[dict[str, Any]] = []
        self._written: set[Path] = set()
        if how == Format.CSV:
            self._out.write(csv_rows(self._columns, header=True).decode())

    def add(self, recording: "Recording") -> None:
        name, timeline, formats = recording.name, recording.timeline, self._formats
        if self._how == Format.CSV:
            # A terminal must not do what a file's name says.
            name = visible(name) if self._out.isatty() else name
            rows: Iterable[dict[str, Any]] = [formats.prediction_row(name, timeline.prediction)]
            self._out.write(csv_rows(self._columns, formats.segment_rows(name, timeline) if self._timeline else rows).decode())
        elif self._how in (Format.JSON, Format.JSONL):
            found = (
                formats.timeline_object(name, timeline)
                if self._timeline
                else formats.prediction_object(name, timeline.prediction)
            )
            if self._how == Format.JSON:
                self._objects.append(found)
            else:
                self._out.write(json.dumps(found) + "\n")
        elif self._how in SUFFIXES and not timeline.prediction.error:
            text = formats.textgrid(timeline) if self._how == Format.TEXTGRID else formats.audacity_labels(timeline)
            if self._output:
                write(self._place(recording.path, self._output), text.rstrip("\n"), "--output")
            else:
                self._out.write(text)
        self._out.flush()

    def _place(self, path: str, folder: Path) -> Path:
        """A file of a recording's own: two recordings may have one name."""
        folder.mkdir(parents=True, exist_ok=True)
        suffix = SUFFIXES[self._how]
        place, number = folder / f"{Path(path).stem}{suffix}", 1
        while place in self._written:
            number += 1
            place = folder / f"{Path(path).stem}-{number}{suffix}"
        self._written.add(place)
        return place

    def end(self) -> None:
        if self._how == Format.JSON:
            self._out.write(json.dumps(self._objects, indent=1) + "\n")

    def tables(self, heard: Sequence["Recording"]) -> None:
        heard = [recording for recording in heard if not recording.timeline.prediction.error]
        if self._how != Format.TABLE or not heard:
            return
        if not self._timeline:
            rows = [(recording.name, *_cells(recording.timeline.prediction)) for recording in heard]
            print_table("Recordings", ("recording", "label", "probability", "speech", "duration"), rows, left=2)
            return
        for recording in heard:
            _print_timeline(recording.name, recording.timeline)


def _cells(answer: "Prediction") -> tuple[str, str, str, str]:
    from components.inference import NO_SPEECH
    from components.inference.page import clock

    probability = (
        "-" if answer.label == NO_SPEECH else f"{answer.probabilities.get(answer.label, max(answer.probabilities.values())):.2f}"
    )
    return answer.label, probability, f"{answer.speech:.0%}", clock(answer.duration_s)


def _print_timeline(name: str, timeline: "Timeline") -> None:
    from components.inference.page import clock

    label, probability, speech, duration = _cells(timeline.prediction)
    rows = [
        (clock(segment.start_s), clock(segment.end_s), segment.label, f"{segment.probability:.2f}")
        for segment in timeline.segments
    ]
    title = f"{name}: {label}, probability {probability}, {speech} speech of {duration}"
    print_table(title, ("from", "to", "label", "probability"), rows, left=0)
    tell("; ".join(f"{name} {clock(total.seconds)} ({total.share:.0%})" for name, total in timeline.totals.items()))


def listen_to(folder: Path, band: float, stdin_rate_hz: int | None) -> None:
    """Writes a JSON line for each second of stdin, or of the microphone where no rate is given.

    Raises:
        UserError: there is no model, no microphone, or what comes is not sound.
    """
    with ExitStack() as stack, _quiet() as out:
        model = _load(folder, band)
        model.warm_up()
        from components.inference import listen

        try:
            source = (
                stack.enter_context(microphone(model.sample_rate_hz)) if stdin_rate_hz is None else stdin_stream(stdin_rate_hz)
            )
            for moment in listen(model, source):
                out.write(json.dumps({key: _rounded(value) for key, value in asdict(moment).items()}) + "\n")
                out.flush()
        except AudioError as error:
            raise UserError(f"-: {error}") from None


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return round(value, 6) if isinstance(value, float) else value


@contextmanager
def _quiet() -> Iterator[TextIO]:
    """Keeps what libraries say off the terminal while the body runs; yields a stdout that stays."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out, noise_to(Path(os.devnull)):
        yield out
