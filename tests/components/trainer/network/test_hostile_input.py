# SPDX-License-Identifier: Apache-2.0
"""What nobody meant to send to the exported model: mutated bytes, numbers that are none, and what costs memory."""

import io
import os
import random
import struct
import subprocess
import sys

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from beam_jobs.examples import encode_clip

UNIFORM = [0.5, 0.5]


@pytest.fixture(scope="module")
def served(trained):
    return tf.saved_model.load(trained.serving_model_dir).signatures


def wav(samples, rate_hz=8000, subtype="FLOAT"):
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format="WAV", subtype=subtype)
    return file.getvalue()


def hiss(samples, dbfs=-60.0):
    return (10 ** (dbfs / 20) * np.random.default_rng(5).standard_normal(samples)).astype(np.float32)


EXTREMES = [0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


def mutate(content, rng):
    """Some bytes, sizes or the length of a file changed, most often in its header."""
    content = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(min(len(content), rng.choice([64, 128, 1 << 20])) or 1)
        match rng.randrange(5):
            case 0:
                content[place : place + 1] = rng.randbytes(1)
            case 1:
                content[place : place + 4] = struct.pack("<I", rng.choice(EXTREMES))
            case 2:
                content[place : place + 2] = struct.pack("<H", rng.choice(EXTREMES) & 0xFFFF)
            case 3:
                del content[place : place + rng.choice([1, 2, 7, 1 << 20])]
            case 4:
                content[place:place] = rng.randbytes(rng.choice([1, 2, 8]))
    return bytes(content)


def mutated_wavs(rng, clips):
    voice = clips[0].pcm16 / 32768
    stereo = np.stack([voice, voice], axis=1)
    sounds = [(voice, 8000), (stereo, 16000)]
    kinds = [wav(*sound, subtype) for subtype in ("PCM_16", "PCM_24", "FLOAT", "ULAW") for sound in sounds]
    while True:
        yield mutate(rng.choice(kinds), rng)


def mutated_examples(rng, clips):
    while True:
        yield mutate(encode_clip(rng.choice(clips)), rng)


def mutated_waveforms(rng, clips):
    odd = [np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 1e-45, 1e-38, 1e30, 1.0, 0.0]
    while True:
        samples = (clips[0].pcm16 / 32768).astype(np.float32) * np.float32(rng.choice([0.0, 1e-40, 1e-20, 1.0, 1e20, 1e38]))
        for _ in range(rng.randrange(3)):
            place = rng.randrange(len(samples))
            samples[place : place + rng.choice([1, 100])] = rng.choice(odd)
        yield samples


@pytest.mark.parametrize("count", [96, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("name", "make"), [("wav", mutated_wavs), ("serving_default", mutated_examples), ("waveform", mutated_waveforms)]
)
def test_nothing_that_is_sent_brings_it_down_or_gets_a_nan(served, clips, name, make, count):
    rng = random.Random(count)
    source = make(rng, clips)
    for _ in range(0, count, 16):
        items = [next(source) for _ in range(16)]

        answer = {key: value.numpy() for key, value in served[name](tf.constant(items)).items()}

        assert np.isfinite(answer["probabilities"]).all()
        assert answer["probabilities"].min() >= 0
        assert answer["probabilities"].sum(axis=1) == pytest.approx(1, abs=1e-5)
        assert np.isfinite(answer["speech"]).all()
        assert (answer["speech"].min() >= 0) and (answer["speech"].max() <= 1)
        assert np.isfinite(answer["duration_s"]).all()
        for row in np.flatnonzero(answer["error"] != b""):
            assert answer["probabilities"][row].tolist() == UNIFORM
            assert answer["speech"][row] == 0


MEASURE = """
import sys, time
import tensorflow as tf

def peak_mb():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024

signature = tf.saved_model.load(sys.argv[1]).signatures["wav"]
signature(wav=tf.io.read_file(sys.argv[2])[tf.newaxis])
before, started = peak_mb(), time.monotonic()
answer = signature(wav=tf.io.read_file(sys.argv[3])[tf.newaxis])
said = answer["error"][0].numpy().decode() or answer["duration_s"][0].numpy()
print(peak_mb() - before, time.monotonic() - started, said, sep="|")
"""


def measure(trained, tmp_path, content):
    """Asks in a bare process: memory above the loaded model in MB, seconds, the error or else the duration."""
    (tmp_path / "first.wav").write_bytes(wav(hiss(8000, -20)))
    (tmp_path / "asked.wav").write_bytes(content)
    command = [sys.executable, "-I", "-c", MEASURE, trained.serving_model_dir, "first.wav", "asked.wav"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    memory_mb, seconds, said = done.stdout.strip().split("|")
    return float(memory_mb), float(seconds), said


def test_a_file_that_claims_1_hz_costs_nothing(trained, tmp_path):
    content = wav(hiss(32000), subtype="PCM_16")
    content = content[:24] + struct.pack("<I", 1) + content[28:]

    memory_mb, seconds, said = measure(trained, tmp_path, content)

    assert said == "sample rate 1 Hz is outside 4000 to 192000 Hz"
    assert memory_mb < 5
    assert seconds < 1


@pytest.mark.slow
def test_20_minutes_of_48_khz_stereo_take_at_most_300_mb(trained, tmp_path, make_voice):
    minute = np.concatenate([make_voice(k % 2, k, 3 * 48000, 48000) for k in range(20)])
    content = wav(np.tile(np.stack([minute, minute], axis=1), (20, 1)), 48000, "PCM_16")

    memory_mb, _, said = measure(trained, tmp_path, content)

    assert said == "1200.0"
    assert memory_mb < 300  # 230 of which are the request's bytes
