# SPDX-License-Identifier: Apache-2.0
"""The data gate: real statistics of real records, held against the schema, pass or stop the run in words."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from beam_jobs.errors import UserError
from beam_jobs.examples import METADATA, SEGMENTS, Clip, Segment, encode_clip

SCHEMA = Path(__file__).parents[3] / "pipeline/schema/schema.pbtxt"
CLASSES = ("male", "female", "mixed")


def clip(number: int, **changes) -> Clip:
    values = {
        "id": f"train-{number}",
        "label": number % 2,
        "mode": ("simultaneous", "sequential")[number % 2],
        "speaker_ids": (str(number),),
        "utterance_ids": (f"{number}-1-0000",),
        "rms_dbfs": -20.0 - number,
        "speech_ratio": 0.9,
        "sample_rate_hz": 8000,
        "pcm16": np.zeros(80, np.int16),
        "segments": (Segment(number % 2, 0.0, 0.009),),
    }
    return Clip(**{**values, **changes})


def without(record: bytes, feature: str) -> bytes:
    import tensorflow as tf

    example = tf.train.Example.FromString(record)
    del example.features.feature[feature]
    return example.SerializeToString()


@pytest.fixture
def gate(tmp_path) -> Callable[..., None]:
    """A function that takes the records of splits through statistics, ExampleValidator and DataGate."""
    import tensorflow_data_validation as tfdv
    from tensorflow_data_validation.statistics.stats_impl import generate_statistics_in_memory
    from tfx.types import artifact_utils, standard_artifacts
    from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

    from components.data_gate.executor import Executor as DataGate
    from components.example_validator.component import Executor as ClipExampleValidator
    from components.import_schema_gen.executor import Executor as ImportSchemaGen

    def artifact(kind: type, uri: Path, splits: list[str] | None = None):
        made = kind()
        made.uri = str(uri)
        if splits:
            made.split_names = artifact_utils.encode_split_names(splits)
        return made

    options = tfdv.StatsOptions(feature_allowlist=list(METADATA))

    def run(**records_by_split: list[bytes]) -> None:
        for split, records in records_by_split.items():
            batch = ExamplesToRecordBatchDecoder().DecodeBatch(records)
            path = tmp_path / f"statistics/Split-{split}/FeatureStats.pb"
            path.parent.mkdir(parents=True)
            path.write_bytes(generate_statistics_in_memory(batch, options).SerializeToString())
        statistics = artifact(standard_artifacts.ExampleStatistics, tmp_path / "statistics", list(records_by_split))
        schema = artifact(standard_artifacts.Schema, tmp_path / "schema")
        largest = {"clip/label": len(CLASSES) - 1, "clip/segment_labels": 1}
        ImportSchemaGen().Do({}, {"schema": [schema]}, {"schema_text": SCHEMA.read_text(), "max_values": json.dumps(largest)})
        anomalies = artifact(standard_artifacts.ExampleAnomalies, tmp_path / "anomalies")
        ClipExampleValidator().Do({"statistics": [statistics], "schema": [schema]}, {"anomalies": [anomalies]}, {})
        DataGate().Do({"anomalies": [anomalies]}, {}, {})

    return run


def clean() -> list[bytes]:
    return [encode_clip(clip(number)) for number in range(6)]


def test_clean_data_passes_without_its_audio_in_the_statistics(gate):
    gate(train=clean(), eval=clean()[:4])


def test_records_that_do_not_say_who_speaks_when_pass(gate):
    old = []
    for record in clean():
        for name in SEGMENTS:
            record = without(record, name)
        old.append(record)

    gate(train=old, eval=clean())


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (encode_clip(clip(7, mode="choir")), r"clip/mode: .*choir"),
        (encode_clip(clip(7, rms_dbfs=float("nan"))), r"clip/rms_dbfs: .*NaN"),
        (encode_clip(clip(7, rms_dbfs=3.0)), r"clip/rms_dbfs: .*3"),
        (encode_clip(clip(7, label=3)), r"clip/label: .*3"),
        (encode_clip(clip(7, sample_rate_hz=96000)), r"audio/sample_rate: .*96000"),
        (encode_clip(clip(7, segments=(Segment(2, 0.0, 0.005),))), r"clip/segment_labels: .*2"),
        (encode_clip(clip(7, segments=(Segment(1, 0.0, 700.0),))), r"clip/segment_end_s: .*700"),
        ("without mode", r"clip/mode: .*missing|clip/mode: .*present|clip/mode: .*fraction"),
    ],
)
def test_one_bad_record_stops_the_run_in_words(gate, record, problem):
    if record == "without mode":
        record = without(clean()[0], "clip/mode")

    with pytest.raises(UserError) as caught:
        gate(train=clean(), eval=[*clean(), record])

    message = str(caught.value)
    assert "\n" not in message
    assert re.match(rf"the data does not fit the schema \(pipeline/schema/schema\.pbtxt\): split eval: ({problem})", message)
    assert message.endswith("Fix the dataset, or the schema if the data is right")
    assert "split train" not in message


def test_all_that_is_wrong_is_told_at_once_by_split_and_feature(gate):
    with pytest.raises(UserError) as caught:
        gate(train=[encode_clip(clip(1, mode="choir", label=9))], eval=[without(record, "clip/id") for record in clean()])

    places = [str(caught.value).index(f"split {place}: ") for place in ("train: clip/label", "train: clip/mode", "eval: clip/id")]
    assert places == sorted(places)


def test_a_split_without_records_does_not_pass(gate):
    with pytest.raises(UserError, match="split eval: "):
        gate(train=clean(), eval=[])
