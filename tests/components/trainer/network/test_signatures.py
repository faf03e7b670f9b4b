# SPDX-License-Identifier: Apache-2.0
"""The exported model's signatures: who answers what to whom, and that bad audio spoils nothing but its own row."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from beam_jobs.examples import encode_clip

SAMPLE_RATE_HZ = 8000
OUTPUTS = {"probabilities", "classes", "thresholds", "label", "speech", "duration_s", "error"}

BARE_PROCESS = """
import sys
import tensorflow as tf
served = tf.saved_model.load(sys.argv[1]).signatures
record, wav = (open(path, "rb").read() for path in sys.argv[2:])
outputs = [
    served["serving_default"](tf.constant([record])),
    served["wav"](tf.constant([wav])),
    served["waveform"](tf.zeros([1, 20000])),
    served["waveforms"](waveform=tf.zeros([1, 20000]), lengths=tf.constant([20], tf.int64)),
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
    return {name: value.numpy() for name, value in signature(tf.constant(list(items))).items()}


def test_all_signatures_agree_on_the_same_audio(served, clips):
    pcm16 = [clip.pcm16 for clip in clips[40:44]]
    waveforms = np.stack([item / np.float32(32768) for item in pcm16])

    from_examples = ask(served["serving_default"], *(encode_clip(clip) for clip in clips[40:44]))
    padded = tf.pad(waveforms, [[0, 0], [0, 999]], constant_values=1.0)
    lengths = tf.constant([len(item) for item in pcm16], tf.int64)
    others = [
        ask(served["wav"], *map(wav_bytes, pcm16)),
        ask(served["waveform"], *waveforms),
        served["waveforms"](waveform=padded, lengths=lengths),
    ]

    assert set(from_examples) == OUTPUTS
    assert from_examples["speech"].min() > 0
    for answer in others:
        assert np.array(answer["probabilities"]) == pytest.approx(from_examples["probabilities"], abs=1e-5)
        assert np.array(answer["speech"]) == pytest.approx(from_examples["speech"], abs=1e-5)
        assert np.array(answer["duration_s"]).tolist() == [1.5] * 4
        assert np.array(answer["error"]).tolist() == [b""] * 4


def test_classes_are_named_in_every_row(served, clips):
    answer = ask(served["serving_default"], *(encode_clip(clip) for clip in clips[:3]))

    assert answer["classes"].tolist() == [[b"male", b"female"]] * 3


def test_other_rates_and_channels(served, make_voice):
    mono = make_voice(1, 99, 66150, 44100)
    expected = ask(served["waveform"], make_voice(1, 99, 12000, 8000))["probabilities"]

    stereo = ask(served["wav"], wav_bytes(np.stack([mono, mono], axis=1), 44100))["probabilities"]

    assert stereo.argmax() == expected.argmax()
    assert stereo == pytest.approx(expected, abs=0.1)


def test_an_example_may_have_a_rate_of_its_own(served, clips, make_voice):
    """Without a rate it is the model's; nothing but the audio must be there."""
    pcm16 = np.rint(make_voice(1, 98, 24000, 16000) * 32767).astype("<i2")
    features = {"audio/pcm16": [pcm16.tobytes()]}

    def example(**rate):
        feature = {key: tf.train.Feature(bytes_list=tf.train.BytesList(value=value)) for key, value in features.items()}
        feature |= {key: tf.train.Feature(int64_list=tf.train.Int64List(value=[value])) for key, value in rate.items()}
        return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()

    answer = ask(served["serving_default"], example(**{"audio/sample_rate": 16000}), example())
    expected = ask(served["wav"], wav_bytes(pcm16, 16000), wav_bytes(pcm16, 8000))

    assert answer["duration_s"].tolist() == expected["duration_s"].tolist() == [1.5, 3.0]
    assert answer["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-6)


def bad_items(clip):
    """By signature: bad items, each with a part of its error."""
    good = wav_bytes(clip.pcm16)
    ones = np.ones(12000, np.float32)
    nan, infinite = ones.copy(), ones.copy()
    nan[5], infinite[11999] = np.nan, -np.inf
    return {
        "serving_default": [
            (b"rubbish", "not a tf.Example"),
            (b"", "not a tf.Example"),
            (encode_clip(clip)[:-7], "not a tf.Example"),
        ],
        "wav": [
            (b"", "not a WAV file"),
            (b"ID3 and so on", "not a WAV file"),
            (good[:20], "no fmt chunk"),
            (good[:36], "no data chunk"),
            (good[:24] + (1).to_bytes(4, "little") + good[28:], "sample rate 1 Hz is outside 4000 to 192000 Hz"),
            (good[:22] + (0).to_bytes(2, "little") + good[24:], "0 channels, not 1 to 16"),
            (good[:20] + (17).to_bytes(2, "little") + good[22:], "unsupported WAV encoding: format tag 17, 16 bits"),
            (
                good[:32] + (3).to_bytes(2, "little") + good[34:],
                "a damaged WAV header: 3 bytes a frame for 1 channels of 16 bits",
            ),
        ],
        "waveform": [(nan, "samples that are NaN or infinite"), (infinite, "samples that are NaN or infinite")],
    }


@pytest.mark.parametrize("name", ["serving_default", "wav", "waveform"])
def test_bad_audio_says_what_is_wrong_and_spoils_only_its_own_row(served, clips, name):
    make = {
        "serving_default": encode_clip,
        "wav": lambda clip: wav_bytes(clip.pcm16),
        "waveform": lambda clip: clip.pcm16 / np.float32(32768),
    }[name]
    alone = ask(served[name], make(clips[40]), make(clips[41]))
    bad = bad_items(clips[42])[name]

    answer = ask(served[name], make(clips[40]), *(item for item, _ in bad), make(clips[41]))

    for key, values in alone.items():
        assert answer[key][[0, -1]].tolist() == values.tolist(), key
    for row, (_, message) in enumerate(bad, start=1):
        assert message in answer["error"][row].decode()
        assert answer["probabilities"][row].tolist() == [0.5, 0.5]
        assert answer["speech"][row] == 0
    assert b"\n" not in b"".join(answer["error"])


def test_a_length_that_cannot_be_is_an_error_of_its_row(served):
    answer = served["waveforms"](waveform=tf.zeros([3, 8000]), lengths=tf.constant([-1, 8001, 8000], tf.int64))

    assert answer["error"].numpy().tolist() == [
        b"length -1, and the waveform holds 8000 samples",
        b"length 8001, and the waveform holds 8000 samples",
        b"",
    ]


def test_a_recording_that_is_too_long_is_refused_unheard(served):
    answer = ask(served["wav"], wav_bytes(np.zeros(4000 * 3601, np.int16), 4000))

    assert answer["error"].tolist() == [b"3601 s long, longer than 3600 s"]
    assert answer["duration_s"].tolist() == [3601.0]


@pytest.mark.parametrize("samples", [0, 1, 100])
def test_hardly_any_samples_are_no_speech(served, samples):
    for level in (0.0, 0.5):
        sound = np.full(samples, level, np.float32)
        for answer in (
            ask(served["wav"], wav_bytes(sound)),
            ask(served["wav"], wav_bytes(sound, 44100)),
            ask(served["waveform"], sound),
        ):
            assert answer["probabilities"].tolist() == [[0.5, 0.5]]
            assert answer["speech"].tolist() == [0.0]
            assert answer["error"].tolist() == [b""]


def test_an_empty_batch_gives_no_rows(served):
    assert served["waveform"](tf.zeros([0, 100]))["probabilities"].shape == (0, 2)
    assert served["wav"](tf.constant([], tf.string))["error"].shape == (0,)


def test_the_model_answers_in_a_bare_process(trained, clips, tmp_path, served):
    (tmp_path / "record").write_bytes(encode_clip(clips[0]))
    (tmp_path / "a.wav").write_bytes(wav_bytes(clips[0].pcm16))
    command = [sys.executable, "-I", "-c", BARE_PROCESS, trained.serving_model_dir, "record", "a.wav"]
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "TF_USE_LEGACY_KERAS")}

    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)

    assert result.returncode == 0, result.stderr
    first = np.array(result.stdout.split()[:2], float)
    assert first == pytest.approx(ask(served["serving_default"], encode_clip(clips[0]))["probabilities"][0], abs=1e-5)
