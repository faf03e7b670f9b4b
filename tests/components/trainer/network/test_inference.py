# SPDX-License-Identifier: Apache-2.0
"""What may and what may not change an answer: silence, pauses, quiet noise, level and rate, and what is no speech."""

import io
import os
from pathlib import Path

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import numpy as np
import pytest
import soundfile
import soxr
import tensorflow as tf
import tf_keras as keras

from beam_jobs import examples
from components.trainer.config import ModelConfig
from components.trainer.network.model import build_model
from components.trainer.network.signatures import ServedModel
from components.trainer.network.sound import resample_seconds
from components.transform.preprocessing import WAVEFORM

CASES = next((found for folder in Path(__file__).parents if (found := folder / "shared/cases/wav").is_dir()), None)
UNIFORM = [0.5, 0.5]
SAME = 1e-3
"""What rounding to 16 bits and the last bits of float32 may do."""
CLOSE = 0.02 if "SERVED_MODEL" in os.environ else 0.15
"""Of a model that has learned what a voice is. Elsewhere it is one that has heard some tones up to 2 kHz, and guesses."""


@pytest.fixture(scope="module")
def served(trained):
    """A small model of 8 kHz."""
    return tf.saved_model.load(trained.serving_model_dir).signatures


@pytest.fixture(scope="module")
def real(served):
    """The SavedModel of real speech that SERVED_MODEL names, or the small one."""
    return tf.saved_model.load(os.environ["SERVED_MODEL"]).signatures if "SERVED_MODEL" in os.environ else served


@pytest.fixture(scope="module")
def hear(served):
    """A function: samples and their rate -> P(the first class), speech."""
    return hear_by(served)


def hear_by(served):
    def hear(samples, rate_hz=8000):
        answer = served["wav"](tf.constant([wav(samples, rate_hz)]))
        assert answer["error"].numpy().tolist() == [b""]
        return float(answer["probabilities"][0, 0]), float(answer["speech"][0])

    return hear


def wav(samples, rate_hz=8000, subtype="FLOAT"):
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format="WAV", subtype=subtype)
    return file.getvalue()


def silence(duration_s, rate_hz):
    return np.zeros(round(duration_s * rate_hz), np.float32)


def hiss(samples, dbfs=-60.0):
    return (10 ** (dbfs / 20) * np.random.default_rng(5).standard_normal(samples)).astype(np.float32)


# What changes nothing.


def real_voices():
    """Five seconds of each of some speakers of LibriSpeech."""
    if not os.environ.get("LIBRISPEECH_ROOT"):
        pytest.skip("LIBRISPEECH_ROOT is not set: it names a folder with SPEAKERS.TXT and train-clean-100")
    speakers = sorted(folder for folder in Path(os.environ["LIBRISPEECH_ROOT"]).glob("train-clean-100/*") if folder.is_dir())
    for speaker in speakers[:: max(1, len(speakers) // 12)]:
        samples, rate_hz = soundfile.read(min(speaker.rglob("*.flac")), dtype="float32")
        yield samples[: 5 * rate_hz], rate_hz


CHANGES = {
    "silence before": (lambda x, r: np.r_[silence(7.3137, r), x], SAME),
    "40 s of silence behind": (lambda x, r: np.r_[x, silence(40, r)], SAME),
    "noise behind": (lambda x, r: np.r_[x, hiss(40 * r)], CLOSE),
    "noise underneath": (lambda x, r: x + hiss(len(x)), CLOSE),
    "a pause": (lambda x, r: np.r_[x[: len(x) // 2], silence(2, r), x[len(x) // 2 :]], CLOSE),
    "a long pause": (lambda x, r: np.r_[x[: len(x) // 3], silence(30, r), x[len(x) // 3 :]], CLOSE),
    "far too loud": (lambda x, r: 1e6 * x, SAME),
    "far too quiet": (lambda x, r: 1e-6 * x, SAME),
    "another rate": (lambda x, r: soxr.resample(x, r, 44100), CLOSE),
}


@pytest.mark.parametrize("change", CHANGES)
def test_silence_pauses_and_level_change_no_answer_on_real_speech(real, change):
    hear, (apply, tolerance) = hear_by(real), CHANGES[change]
    differences = []
    for samples, rate_hz in real_voices():
        changed_hz = 44100 if change == "another rate" else rate_hz
        differences.append(abs(hear(apply(samples, rate_hz), changed_hz)[0] - hear(samples, rate_hz)[0]))

    assert max(differences) <= tolerance


def test_speech_is_a_share_of_the_whole_recording(hear, make_voice):
    voice = make_voice(0, 60)[:9000]

    _, alone = hear(voice)
    _, diluted = hear(np.r_[silence(1, 8000), voice, silence(2, 8000)])

    assert 0.3 < alone <= 1
    assert diluted == pytest.approx(alone * len(voice) / (len(voice) + 24000), abs=0.01)


def test_silence_does_not_outvote_a_voice_and_two_voices_are_weighed_by_their_speech(hear, make_voice):
    low, high = make_voice(0, 50)[:9000], make_voice(1, 51)[:9000]
    p_low, p_high = hear(low)[0], hear(high)[0]
    assert p_low > 0.5 > p_high

    mostly_low = hear(np.r_[np.tile(low, 8), high])[0]
    mostly_high = hear(np.r_[low, silence(30, 8000), np.tile(high, 8)])[0]

    assert mostly_low > 0.5 > mostly_high


# What the graph computes.


def serve_untrained(num_samples, rate_hz):
    """A network of random weights behind a preprocessing graph as TF Transform's, for clips of any length."""
    keras.utils.set_random_seed(4)
    model = ModelConfig(n_mels=32, filters=[4, 8, 8, 8], mel_f_max_hz=rate_hz / 2 - 200)

    @tf.function
    def transform(raw):
        pcm16 = tf.io.decode_raw(raw[examples.PCM16], tf.int16, fixed_length=2 * num_samples)
        gain = tf.pow(10.0, (-25 - raw[examples.RMS_DBFS]) / 20) / 32768
        return {WAVEFORM: tf.ensure_shape(tf.cast(pcm16, tf.float32) * gain[:, tf.newaxis], [None, num_samples])}

    network = build_model(model, num_samples, rate_hz, 2)
    return ServedModel(network, transform, model, num_samples, rate_hz, ["male", "female"])


@pytest.mark.parametrize("from_hz", [8000, 44100])
def test_the_length_of_a_clip_does_not_matter(make_voice, from_hz):
    """Neither the seams between the chunks that go through the preprocessing graph nor those between pieces are heard."""
    recording = np.concatenate([make_voice(k % 2, k, 3 * from_hz, from_hz) for k in range(8)])
    content = tf.constant([wav(recording, from_hz)])

    models = [serve_untrained(num_samples, 8000) for num_samples in (7777, 240_000)]
    short, long = (model.serve_wav(content) for model in models)

    assert long["speech"].numpy() == pytest.approx(short["speech"].numpy(), abs=1e-4)
    assert long["probabilities"].numpy() == pytest.approx(short["probabilities"].numpy(), abs=1e-4)
    assert short["speech"][0] > 0.1


@pytest.mark.parametrize("from_hz", [4000, 8000, 11025, 16000, 22050, 44101, 48000, 192000])
def test_resampling_is_what_soxr_does(from_hz):
    rng, seconds = np.random.default_rng(from_hz), 5
    time = np.arange(seconds * from_hz) / from_hz
    band_hz = 0.45 * min(from_hz, 16000)
    tones = sum(np.sin(2 * np.pi * (rng.uniform(50, band_hz) * time + rng.uniform())) for _ in range(20)) / 20
    tones[:from_hz] = tones[-from_hz:] = 0

    resampled = resample_seconds(tf.constant(tones, tf.float32), seconds, tf.constant(from_hz, tf.int64), 16000).numpy()

    expected = soxr.resample(tones, from_hz, 16000, quality="VHQ")
    inner = slice(20000, 60000)  # two seconds and a half, away from the steps in the tones
    assert len(resampled) == seconds * 16000
    assert resampled[inner] == pytest.approx(expected[inner], abs=2e-3)


# What is no speech.


@pytest.mark.skipif(CASES is None, reason="shared/cases is not there")
@pytest.mark.parametrize("name", ["zero_length", "one_sample", "antiphase"])
def test_files_that_people_reported_hold_nothing_audible(served, name):
    answer = served["wav"](tf.constant([(CASES / f"{name}.wav").read_bytes()]))

    assert answer["probabilities"].numpy().tolist() == [UNIFORM]
    assert (answer["speech"].numpy().tolist(), answer["error"].numpy().tolist()) == ([0.0], [b""])


@pytest.mark.skipif("SERVED_MODEL" not in os.environ, reason="SERVED_MODEL is not set: it names a SavedModel of real speech")
@pytest.mark.parametrize(
    "samples",
    [
        pytest.param(hiss(5 * 16000, -20), id="white noise"),
        pytest.param(0.003 * np.cumsum(hiss(5 * 16000, -20)), id="brown noise"),
        *[pytest.param(0.3 * np.sin(np.arange(5 * 16000) * 2 * np.pi * f / 16000), id=f"{f} Hz") for f in (110, 440, 3000)],
    ],
)
def test_noise_and_tones_are_no_speech(real, samples):
    assert hear_by(real)(samples, 16000) == (0.5, 0.0)


@pytest.mark.parametrize(
    "samples",
    [
        pytest.param(np.zeros(40000), id="zeros"),
        pytest.param(np.stack([s := hiss(40000, -20), -s], axis=1), id="antiphase"),
        pytest.param(np.r_[np.zeros(8000), 0.9, np.zeros(8000)], id="a click"),
    ],
)
def test_nothing_audible_is_no_speech(served, samples):
    answer = served["wav"](tf.constant([wav(samples)]))

    assert answer["probabilities"].numpy().tolist() == [UNIFORM]
    assert answer["speech"].numpy().tolist() == [0.0]
