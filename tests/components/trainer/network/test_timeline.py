# SPDX-License-Identifier: Apache-2.0
"""The exported model's timeline: of the same windows as the answer, in the time of the recording."""

import io

import numpy as np
import pytest
import soundfile
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from components.trainer.network.pooling import pool_steps, pool_windows, pool_windows_by_step

SAMPLE_RATE_HZ = 8000
MALE, FEMALE = 0, 1


@pytest.fixture(scope="module")
def served(trained):
    return tf.saved_model.load(trained.serving_model_dir).signatures


def wav(samples, sample_rate_hz=SAMPLE_RATE_HZ):
    file = io.BytesIO()
    soundfile.write(file, samples, sample_rate_hz, format="WAV", subtype="FLOAT")
    return file.getvalue()


def ask(signature, *items):
    return {name: value.numpy() for name, value in signature(tf.constant(list(items))).items()}


def silence(seconds, sample_rate_hz=SAMPLE_RATE_HZ):
    return np.zeros(round(seconds * sample_rate_hz), np.float32)


@pytest.fixture(scope="module")
def dialogue(make_voice):
    """2 s of silence, 6 s of one voice (the last quarter of `make_voice` is silent), 3 s of silence, 6 s of the other."""
    return np.concatenate(
        [silence(2), make_voice(MALE, 90, 64_000)[:48_000], silence(3), make_voice(FEMALE, 91, 64_000)[:48_000]]
    )


def test_its_answer_is_that_of_the_signature_wav(served, dialogue, make_voice):
    items = [
        wav(dialogue),
        wav(make_voice(FEMALE, 7)),
        wav(silence(1)),
        b"rubbish",
        wav(make_voice(MALE, 8, 40_000, 44_100), 44_100),
    ]

    found, expected = ask(served["timeline"], *items), ask(served["wav"], *items)

    for name, values in expected.items():
        assert found[name].tolist() == values.tolist(), name
    assert found["step_probabilities"].shape == (5, 34, 2)
    assert found["step_speech"].shape == found["step_weights"].shape == (5, 34)
    # Shorter recordings end in zeros, and what is no recording has no steps.
    assert found["step_probabilities"].sum(axis=2).astype(bool).sum(axis=1).tolist() == [34, 3, 2, 0, 2]


def test_who_speaks_is_told_where_they_speak(served, dialogue):
    row = ask(served["timeline"], wav(dialogue))
    speech, probabilities = row["step_speech"][0], row["step_probabilities"][0]

    # A frame is 64 ms long, and may begin in the step before.
    assert speech[:4].max() < 0.1 and speech[:3].max() == 0 and speech[17:21].max() == 0
    assert speech[4:16].min() > 0.2 and speech[22:].min() > 0.2
    assert probabilities[4:12].argmax(axis=1).tolist() == [MALE] * 8
    assert probabilities[26:].argmax(axis=1).tolist() == [FEMALE] * 8
    assert probabilities[:3].tolist() == [[0.5, 0.5]] * 3


def test_the_steps_are_as_much_speech_as_the_recording(served, dialogue):
    row = ask(served["timeline"], wav(dialogue))

    assert 0.5 * row["step_speech"][0].sum() == pytest.approx(row["speech"][0] * row["duration_s"][0], rel=0.02)


@pytest.mark.parametrize("rate_hz", [8000, 11_025, 48_000])
def test_the_time_is_that_of_the_recording_at_any_rate(served, make_voice, rate_hz):
    sound = np.concatenate([silence(4.2, rate_hz), make_voice(MALE, 3, 3 * rate_hz, rate_hz)[: 2 * rate_hz]])

    speech = ask(served["timeline"], wav(sound, rate_hz))["step_speech"][0]

    assert len(speech) == 13
    assert speech[:8].max() == 0 and 0.2 < speech[8] < 0.9 and speech[9:12].min() > 0.5


def test_combined_steps_of_one_recording_are_its_answer(served, dialogue, make_voice):
    row = ask(served["timeline"], wav(dialogue), wav(make_voice(FEMALE, 7)))

    combined = served["combine"](step_pooled=tf.constant(row["step_pooled"]), step_weights=tf.constant(row["step_weights"]))

    assert combined["probabilities"].numpy() == pytest.approx(row["probabilities"], abs=1e-5)
    assert combined["classes"].numpy().tolist() == [[b"male", b"female"]] * 2


@given(st.integers(0, 2**32 - 1), st.sampled_from([None, 2]))
def test_pooling_by_steps_and_then_the_steps_is_pooling(seed, mixed):
    rng = np.random.default_rng(seed)
    windows, length, steps = rng.integers(1, 8), rng.integers(1, 6), 4
    logits = tf.constant(rng.normal(0, 6, [windows, 3 if mixed else 2]), tf.float32)
    speech = tf.constant(rng.uniform(0.01, 1, [windows, length]), tf.float32)
    step = tf.constant(rng.integers(0, steps, [windows, length]), tf.int32)

    pooled, weights = pool_windows_by_step(logits, speech, step, tf.constant(steps), mixed)

    whole = pool_windows(logits, tf.reduce_sum(speech, axis=1), mixed)
    assert pool_steps(pooled, weights, mixed).numpy() == pytest.approx(whole.numpy(), rel=1e-3, abs=1e-3)
    assert weights.numpy().sum() == pytest.approx(speech.numpy().sum(), rel=1e-5)
    assert not pooled.numpy()[weights.numpy() == 0].any()
