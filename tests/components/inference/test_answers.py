# SPDX-License-Identifier: Apache-2.0
"""Labels, segments and totals, and what is written of them."""

import io
import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from components.decision_rule import even_thresholds
from components.inference.answers import STEP_S, Prediction, Timeline, find_segments, label_of, total_by_label
from components.inference.blocks import BLOCK_S, CONTEXT_S, in_blocks
from components.inference.formats import (
    audacity_labels,
    prediction_columns,
    prediction_object,
    prediction_row,
    segment_rows,
    textgrid,
    timeline_object,
)
from components.inference.page import clock

CLASSES = ("male", "female")


def timeline_of(female, speech, duration_s, band=0.1):
    probabilities = np.stack([1 - female, female], axis=1)
    segments = find_segments(probabilities, speech, duration_s, CLASSES, np.array([0.5, 0.5]), band)
    prediction = Prediction("male", {"male": 0.7, "female": 0.3}, 0.5, duration_s)
    return Timeline(prediction, segments, total_by_label(segments, CLASSES))


@st.composite
def timelines(draw):
    steps = draw(st.integers(1, 40))
    share = st.floats(0, 1, width=32)
    female, speech = (draw(arrays(np.float64, steps, elements=share)) for _ in range(2))
    duration_s = (steps - 1) * STEP_S + draw(st.floats(0.01, STEP_S))
    return timeline_of(female, speech, duration_s, draw(st.floats(0, 0.5)))


@given(timelines())
def test_segments_are_in_order_within_the_recording_and_add_up(timeline):
    position, duration_s = 0.0, timeline.prediction.duration_s
    for segment in timeline.segments:
        assert position <= segment.start_s < segment.end_s <= duration_s
        assert segment.label in (*CLASSES, "uncertain") and 0 <= segment.probability <= 1
        position = segment.end_s
    spoken = sum(segment.end_s - segment.start_s for segment in timeline.segments)
    assert list(timeline.totals) == [*CLASSES, "uncertain"]
    assert sum(total.seconds for total in timeline.totals.values()) == pytest.approx(spoken)
    assert sum(total.share for total in timeline.totals.values()) == pytest.approx(int(bool(timeline.segments)))


@given(timelines())
def test_neighbours_have_other_labels_or_a_pause_between_them(timeline):
    for before, after in itertools.pairwise(timeline.segments):
        assert before.label != after.label or before.end_s < after.start_s


@pytest.mark.parametrize(
    ("probabilities", "band", "label"),
    [
        ([0.41, 0.59], 0.1, "uncertain"),
        ([0.39, 0.61], 0.1, "female"),
        ([0.49, 0.51], 0, "female"),
        ([0.2, 0.35, 0.45], 0.1, "uncertain"),
        ([0.1, 0.35, 0.56], 0.1, "mixed"),
    ],
)
def test_what_is_uncertain(probabilities, band, label):
    classes = (*CLASSES, "mixed")[: len(probabilities)]
    assert label_of(np.array(probabilities), classes, even_thresholds(len(classes)), band) == label


@pytest.mark.parametrize(
    ("female", "band", "label"),
    [(0.79, 0, "male"), (0.81, 0, "female"), (0.7, 0.1, "male"), (0.8, 0.1, "uncertain"), (0.87, 0.1, "female")],
)
def test_a_label_follows_the_threshold_of_its_class_and_so_does_what_is_uncertain(female, band, label):
    assert label_of(np.array([1 - female, female]), CLASSES, np.array([0.2, 0.8]), band) == label


@given(timelines())
def test_praat_reads_the_textgrid(timeline):
    praatio = pytest.importorskip("praatio.textgrid", reason="praatio is not installed: `make setup-dev`")
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.TextGrid"
        path.write_text(textgrid(timeline), encoding="utf-8")
        grid = praatio.openTextgrid(str(path), includeEmptyIntervals=True, reportingMode="error")

    assert grid.tierNames == ("label", "probability")
    for name in grid.tierNames:
        entries = grid.getTier(name).entries
        assert entries[0].start == 0 and entries[-1].end == pytest.approx(timeline.prediction.duration_s, abs=1e-3)
        assert all(before.end == after.start for before, after in itertools.pairwise(entries))
    spoken = [entry for entry in grid.getTier("label").entries if entry.label]
    assert [(entry.start, entry.label) for entry in spoken] == [(item.start_s, item.label) for item in timeline.segments]


@given(timelines())
def test_audacity_labels_and_rows_say_the_same(timeline):
    lines = [
        re.fullmatch(r"(\d+\.\d{6})\t(\d+\.\d{6})\t(\w+) (\d\.\d\d)", line) for line in audacity_labels(timeline).splitlines()
    ]
    rows = list(segment_rows("a.wav", timeline))
    listed = timeline_object("a.wav", timeline)["segments"]

    for line, row, item, segment in zip(lines, rows, listed, timeline.segments, strict=True):
        assert line[3] == row["label"] == item["label"] == segment.label
        assert float(line[1]) == row["start_s"] == item["start_s"] == segment.start_s
        assert float(line[2]) == pytest.approx(row["end_s"], abs=1e-3) == pytest.approx(item["end_s"])


def test_times_to_read():
    assert [clock(seconds) for seconds in (0, 9.96, 59.99, 754.5, 7215.84)] == [
        "0:00.0", "0:10.0", "1:00.0", "12:34.5", "2:00:15.8",
    ]  # fmt: skip


@given(st.integers(0, 4 * BLOCK_S * 4), st.integers(1, 4))
def test_the_blocks_own_steps_are_those_of_the_recording(samples, rate_hz):
    from beam_jobs.audio_stream import AudioStream

    sound = np.arange(samples, dtype=np.float32)
    file = io.BytesIO(sound.tobytes())
    stream = AudioStream(rate_hz, lambda number: np.frombuffer(file.read(4 * number), np.float32))

    own = []
    for block in in_blocks(stream):
        assert len(block.samples) <= (BLOCK_S + 2 * CONTEXT_S) * rate_hz
        assert np.array_equal(block.samples, sound[block.start_s * rate_hz :][: len(block.samples)])
        steps = np.arange(np.ceil(len(block.samples) / rate_hz / STEP_S))[block.steps]
        own += list(steps + block.start_s / STEP_S)

    assert own == list(range(int(np.ceil(samples / rate_hz / STEP_S))))


def test_a_class_called_like_a_column_keeps_its_probability():
    prediction = Prediction("speech", {"speech": 0.9, "music": 0.08, "noise": 0.02}, 0.4, 3.0)

    columns = prediction_columns(list(prediction.probabilities))
    row = prediction_row("a.wav", prediction)

    assert columns == ("file", "label", "probability of speech", "music", "noise", "speech", "duration_s", "error")
    assert (tuple(row), row["probability of speech"], row["speech"]) == (columns, 0.9, 0.4)
    found = prediction_object("a.wav", prediction)
    assert (found["probabilities"], found["speech"]) == ({"speech": 0.9, "music": 0.08, "noise": 0.02}, 0.4)
