# SPDX-License-Identifier: Apache-2.0
"""What models take, measured on real SavedModels of known size."""

import os
from pathlib import Path

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import pytest

from beam_jobs.examples import encode_clip
from components.serving_check.costs import measure_costs


@pytest.fixture(scope="module")
def records(clips) -> list[bytes]:
    return [encode_clip(clip) for clip in clips[:4]]


def save(folder: Path, size: int, turns: int) -> str:
    """A model with `size` times `size` parameters, which it multiplies with themselves so many times for each clip."""
    import tensorflow as tf

    model = tf.Module()
    model.weights = tf.Variable(tf.random.stateless_normal([size, size], seed=[1, 2]) / size)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "wav")])
    def answer(wav):
        def clip(content):
            value = model.weights * tf.cast(tf.strings.length(content), tf.float32)
            for _ in tf.range(turns):
                value = tf.matmul(value, model.weights)
            return tf.reduce_sum(value)

        return {"probabilities": tf.map_fn(clip, wav, fn_output_signature=tf.float32)}

    tf.saved_model.save(model, str(folder), {"wav": answer})
    return str(folder)


def test_a_bigger_and_slower_model_is_told_from_a_smaller_one(tmp_path, records):
    small, big = save(tmp_path / "small", 100, 1), save(tmp_path / "big", 400, 60)

    found, why = measure_costs(big, small, records, 300)

    assert why == ""
    assert (found.candidate.parameters, found.baseline.parameters, found.ratios.parameters) == (160_000, 10_000, 16)
    assert found.ratios.cpu_ms_per_s > 3 and found.ratios.latency_ms > 3
    assert found.candidate.num_bytes > 4 * 160_000 and found.ratios.num_bytes > 5


def test_a_first_model_stands_alone(tmp_path, records):
    found, why = measure_costs(save(tmp_path / "only", 10, 1), None, records, 300)
    assert why == "" and found.candidate.parameters == 100 and (found.baseline, found.ratios) == (None, None)


def test_what_cannot_be_measured_says_why(tmp_path, records, monkeypatch):
    model = save(tmp_path / "model", 10, 1)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))

    assert measure_costs(model, str(tmp_path / "gone"), records, 300) == (None, "the process that timed the models died")
    assert measure_costs(model, None, records, 0.5) == (None, "the models did not answer within 0.5 s")
    assert not list(scratch.glob("serving-check-*"))
