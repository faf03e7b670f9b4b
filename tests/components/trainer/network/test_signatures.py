import io
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from beam_jobs.examples import encode_clip
from components.trainer.network.signatures import resample

SAMPLE_RATE_HZ = 8000

BARE_PROCESS = """
import sys
import tensorflow as tf
served = tf.saved_model.load(sys.argv[1]).signatures
record, wav = (open(path, "rb").read() for path in sys.argv[2:])
outputs = [
    served["serving_default"](tf.constant([record])),
    served["wav"](tf.constant([wav])),
    served["waveform"](tf.zeros([1, 20000])),
]
assert not {"kapre", "components", "beam_jobs"} & set(sys.modules)
for output in outputs:
    assert output["classes"].numpy().tolist() == [[b"male", b"female"]], output
    print(*output["probabilities"].numpy()[0])
"""


@pytest.fixture(scope="module")
def served(trained):
    return tf.saved_model.load(trained.serving_model_dir).signatures


def wav_bytes(samples, sample_rate_hz=SAMPLE_RATE_HZ):
    file = io.BytesIO()
    soundfile.write(file, samples, sample_rate_hz, format="WAV", subtype="PCM_16")
    return file.getvalue()


def ask(signature, *items):
    return signature(tf.constant(list(items)))["probabilities"].numpy()


def test_all_signatures_agree_on_the_same_audio(served, clips):
    pcm16 = [clip.pcm16 for clip in clips[40:44]]

    from_examples = ask(served["serving_default"], *(encode_clip(clip) for clip in clips[40:44]))

    assert ask(served["wav"], *map(wav_bytes, pcm16)) == pytest.approx(from_examples, abs=1e-4)
    assert ask(served["waveform"], *(item / np.float32(32768) for item in pcm16)) == pytest.approx(from_examples, abs=1e-4)


def test_classes_are_named_in_every_row(served, clips):
    output = served["serving_default"](tf.constant([encode_clip(clip) for clip in clips[:3]]))

    assert output["classes"].numpy().tolist() == [[b"male", b"female"]] * 3


def test_other_rates_and_channels(served, make_voice):
    mono = make_voice(1, 99, 66150, 44100)
    expected = ask(served["waveform"], make_voice(1, 99, 12000, 8000))

    stereo = ask(served["wav"], wav_bytes(np.stack([mono, mono], axis=1), 44100))

    assert stereo.argmax() == expected.argmax()
    assert stereo == pytest.approx(expected, abs=0.1)


def test_long_recordings_are_averaged_over_windows_by_their_length(served, make_voice):
    first, second = make_voice(0, 50), make_voice(1, 51)[:6000]

    together = ask(served["waveform"], np.concatenate([first, second]))

    parts = np.concatenate([ask(served["waveform"], first), ask(served["waveform"], second)])
    assert together == pytest.approx(np.average(parts, axis=0, weights=[2, 1], keepdims=True), abs=1e-4)


@pytest.mark.parametrize("samples", [0, 1, 100])
def test_hardly_any_samples_do_not_crash(served, samples):
    silence = np.zeros(samples, np.float32)

    for probabilities in (
        ask(served["wav"], wav_bytes(silence)),
        ask(served["wav"], wav_bytes(silence, 44100)),
        ask(served["waveform"], silence),
    ):
        assert probabilities.shape == (1, 2)
        assert np.isfinite(probabilities).all()


def test_an_empty_batch_gives_no_rows(served):
    assert served["waveform"](tf.zeros([0, 100]))["probabilities"].shape == (0, 2)


@pytest.mark.parametrize("from_hz", [4000, 11025, 16000, 44100])
def test_resampling_keeps_a_tone(from_hz):
    seconds = 1.5
    tone = np.sin(2 * np.pi * 440 * np.arange(int(seconds * from_hz)) / from_hz).astype(np.float32)

    resampled = resample(tf.constant(tone), tf.constant(from_hz), 8000).numpy()

    expected = np.sin(2 * np.pi * 440 * np.arange(len(resampled)) / 8000)
    assert len(resampled) == pytest.approx(seconds * 8000, abs=1)
    assert resampled[500:-500] == pytest.approx(expected[500:-500], abs=0.01)


def test_the_model_answers_in_a_bare_process(trained, clips, tmp_path, served):
    (tmp_path / "record").write_bytes(encode_clip(clips[0]))
    (tmp_path / "a.wav").write_bytes(wav_bytes(clips[0].pcm16))
    command = [sys.executable, "-I", "-c", BARE_PROCESS, trained.serving_model_dir, "record", "a.wav"]
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "TF_USE_LEGACY_KERAS")}

    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)

    assert result.returncode == 0, result.stderr
    first = np.array(result.stdout.split()[:2], float)
    assert first == pytest.approx(ask(served["serving_default"], encode_clip(clips[0]))[0], abs=1e-5)
