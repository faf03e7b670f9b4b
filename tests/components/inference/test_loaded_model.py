# SPDX-License-Identifier: Apache-2.0
"""A model in use: which one is loaded, what it says of files, and of those too long to be heard at once."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from beam_jobs.audio import ffmpeg_is_there
from beam_jobs.audio_stream import AudioStream
from beam_jobs.errors import UserError
from components.inference import Moment, blocks, listen, load_model

MALE, FEMALE = 0, 1


def test_the_newest_version_is_loaded_and_says_what_it_is(model, serving):
    assert (model.version, model.folder) == ("2", serving / "2")
    assert model.classes == ("male", "female") and model.sample_rate_hz == 8000
    assert load_model(serving / "2").version == "2"


def test_where_there_is_no_model_one_line_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match="holds no model yet; `audio-gender run --config demo` trains one"):
        load_model(tmp_path / "serving")
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"rubbish")
    with pytest.raises(UserError, match="the model cannot be loaded"):
        load_model(tmp_path)


def test_a_model_of_version_0_1_is_refused_in_one_line(tmp_path):
    class First(tf.Module):
        """What 0.1 exported: probabilities and classes, and nothing about speech and length."""

        @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32)])
        def waveform(self, samples):
            rows = tf.shape(samples)[0]
            return {"probabilities": tf.fill([rows, 2], 0.5), "classes": tf.tile([["male", "female"]], [rows, 1])}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def wav(self, files):
            return self.waveform(tf.zeros([tf.shape(files)[0], 8]))

    first = First()
    tf.saved_model.save(first, str(tmp_path / "1"), signatures={"wav": first.wav, "waveform": first.waveform})

    with pytest.raises(
        UserError, match=r"/1: an older version exported this model \(no output duration_s\); train and push a new"
    ):
        load_model(tmp_path)


def test_the_answer_is_that_of_the_model_for_the_same_file(model, serving, dialogue, tmp_path):
    path = tmp_path / "dialogue.wav"
    soundfile.write(path, dialogue, 8000, subtype="PCM_16")
    signature = tf.saved_model.load(str(serving / "2")).signatures["wav"]
    expected = {name: value.numpy()[0] for name, value in signature(tf.constant([path.read_bytes()])).items()}

    answers = [model.predict(path), model.predict(str(path)), model.timeline(path).prediction]
    with path.open("rb") as file:
        answers.append(model.predict(file, name="dialogue.wav"))
    answers.append(model.predict_samples(soundfile.read(path, dtype="float32")[0], 8000))

    for answer in answers:
        assert list(answer.probabilities.values()) == pytest.approx(expected["probabilities"], abs=1e-5)
        assert answer.speech == pytest.approx(expected["speech"], abs=1e-5)
        assert (answer.duration_s, answer.error) == (15.0, "")


def test_who_speaks_when(model, dialogue):
    timeline = model.timeline_samples(dialogue, 8000)

    first, last = timeline.segments[0], timeline.segments[-1]
    assert (first.label, first.start_s, last.label, last.end_s) == ("male", 0, "female", 15)
    assert not [segment for segment in timeline.segments if segment.start_s < 8.5 and segment.end_s > 6.5]
    assert timeline.totals["male"].seconds > 4 and timeline.totals["female"].seconds > 4


@pytest.mark.skipif(not ffmpeg_is_there(), reason="no ffmpeg on the PATH (Debian: apt install ffmpeg)")
@pytest.mark.parametrize("name", ["a.flac", "a.ogg", "a.opus", "a.mp3", "a.m4a", "a.webm", "a.mp4"])
def test_every_format_has_the_same_answer(model, dialogue, tmp_path, name):
    soundfile.write(tmp_path / "a.wav", dialogue, 8000)
    subprocess.run(["ffmpeg", "-v", "error", "-i", tmp_path / "a.wav", tmp_path / name], check=True)

    answer, expected = model.predict(tmp_path / name), model.predict(tmp_path / "a.wav")

    assert answer.error == "" and answer.label == expected.label
    assert answer.duration_s == pytest.approx(15, abs=0.2)
    assert list(answer.probabilities.values()) == pytest.approx(list(expected.probabilities.values()), abs=0.15)


def test_what_cannot_be_read_is_an_answer_too(model, tmp_path):
    (tmp_path / "text.wav").write_text("no sound")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 8000)
    soundfile.write(tmp_path / "slow.wav", np.zeros(10), 1000)
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan]), 8000, subtype="FLOAT")
    answers = {name: model.predict(tmp_path / f"{name}.wav") for name in ("text", "empty", "slow", "nan", "none")}

    assert {name: answer.error for name, answer in answers.items()} == {
        "text": "cannot be decoded: it is a text file",
        "empty": "holds no samples",
        "slow": "sample rate 1000 Hz is outside 4000 to 192000 Hz",
        "nan": "holds NaN or infinite samples",
        "none": "cannot be opened: No such file or directory",
    }
    for answer in answers.values():
        assert (answer.label, answer.speech, answer.probabilities) == ("", 0, {"male": 0.5, "female": 0.5})
    assert model.timeline(tmp_path / "text.wav").prediction == answers["text"]


def test_silence_is_no_speech_and_the_band_decides_what_is_uncertain(model, serving, dialogue):
    silence = model.timeline_samples(np.zeros(16_000, np.float32), 8000)
    assert silence.prediction.label == "no speech" and silence.segments == ()

    assert load_model(serving, band=0).predict_samples(dialogue, 8000).label in ("male", "female")
    assert load_model(serving, band=0.5).predict_samples(dialogue, 8000).label == "uncertain"


@pytest.fixture
def long_recording(make_voice):
    """75 s: voices of both kinds, each followed by silence."""
    return np.concatenate([make_voice(number // 2 % 2, number, 40_000) for number in range(15)])


def test_a_long_recording_is_answered_from_the_same_windows(model, long_recording, monkeypatch):
    """In blocks of 20 s nothing but what is loud beside what may change, and here all is equally loud or silent."""
    whole = model.timeline_samples(long_recording, 8000)
    monkeypatch.setattr(blocks, "BLOCK_S", 20)

    found = model.timeline_samples(long_recording, 8000)

    assert list(found.prediction.probabilities.values()) == pytest.approx(list(whole.prediction.probabilities.values()), abs=0.05)
    assert found.prediction.label == whole.prediction.label
    assert found.prediction.speech == pytest.approx(whole.prediction.speech, abs=0.02)
    for label, total in whole.totals.items():
        assert found.totals[label].seconds == pytest.approx(total.seconds, abs=4), label


def test_a_block_of_noise_does_not_make_a_long_recording_no_speech(model, dialogue, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_S", 20)
    hiss = (0.1 * np.random.default_rng(1).standard_normal(60 * 8000)).astype(np.float32)

    found = model.timeline_samples(np.concatenate([hiss, dialogue]), 8000)

    assert found.prediction.label != "no speech"
    spoken = [segment for segment in found.segments if segment.start_s >= 59]
    assert sum(segment.end_s - segment.start_s for segment in spoken) > 5


@pytest.fixture(scope="module")
def old(serving, tmp_path_factory):
    """The model as it was exported before there were timelines."""
    loaded = tf.saved_model.load(str(serving / "2"))
    folder = tmp_path_factory.mktemp("old") / "7"
    tf.saved_model.save(loaded, str(folder), signatures={name: loaded.signatures[name] for name in ("wav", "waveform")})
    return load_model(folder)


def test_an_old_model_answers_and_says_that_it_has_no_timeline(old, model, dialogue, tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, dialogue, 8000)

    assert old.predict(path).probabilities == pytest.approx(model.predict(path).probabilities, abs=1e-6)
    for ask in (lambda: old.timeline(path), lambda: old.timeline_samples(dialogue, 8000), lambda: next(listen(old, None))):
        with pytest.raises(UserError, match="/7: this model is too old to have a signature `timeline`"):
            ask()


def stream(samples, rate_hz=8000):
    file = io.BytesIO(samples.astype(np.float32).tobytes())
    return AudioStream(rate_hz, lambda number: np.frombuffer(file.read(4 * number), np.float32))


def test_each_second_is_answered_as_it_comes(model, dialogue):
    moments = list(listen(model, stream(dialogue[: 14 * 8000 + 2400])))

    assert [(moment.start_s, moment.end_s) for moment in moments] == [(second, second + 1) for second in range(14)] + [(14, 14.3)]
    assert {moment.label for moment in moments[1:5]} == {"male"} and {moment.label for moment in moments[12:]} == {"female"}
    assert {moment.label for moment in moments[6:9]} == {"no speech"}
    assert isinstance(moments[0], Moment) and moments[7].probabilities == {"male": 0.5, "female": 0.5}
    assert moments[0].speech > 0.5 and moments[7].speech == 0


MEMORY = """
import resource, sys
import numpy as np
from components.inference import load_model
from beam_jobs.audio_stream import AudioStream
model = load_model(sys.argv[1])
voice = np.load(sys.argv[2])
def grown(seconds):
    left = [seconds]
    def read(number):
        number = min(number, left[0] * 8000)
        left[0] -= number // 8000
        return np.resize(voice, number)
    found = model._hear(AudioStream(8000, read))
    assert found.prediction.duration_s == seconds and found.segments
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(grown(900), grown(7200))
"""


@pytest.mark.slow
def test_two_hours_need_hardly_more_memory_than_a_quarter_of_one(serving, make_voice, tmp_path):
    np.save(tmp_path / "voice.npy", make_voice(MALE, 1, 80_000))
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, serving, tmp_path / "voice.npy"], capture_output=True, text=True, check=True
    )
    quarter, two_hours = map(float, done.stdout.split())
    assert two_hours - quarter < 50


# Of a model that has learned what a voice is: that which SERVED_MODEL names.


@pytest.fixture(scope="module")
def real():
    if "SERVED_MODEL" not in os.environ:
        pytest.skip("SERVED_MODEL is not set: it names a SavedModel of real speech")
    return load_model(os.environ["SERVED_MODEL"])


def test_a_conversation_of_real_voices_is_told_apart(real):
    if not os.environ.get("LIBRISPEECH_ROOT"):
        pytest.skip("LIBRISPEECH_ROOT is not set: it names a folder with SPEAKERS.TXT and train-clean-100")
    from pathlib import Path

    from beam_jobs.corpus.librispeech import read_librispeech

    root = Path(os.environ["LIBRISPEECH_ROOT"])
    speakers = read_librispeech(root).speakers
    parts: list[np.ndarray] = []
    spoken: list[str] = []
    for label in ("female", "male", "male", "female"):
        speaker = [speaker for speaker in speakers if speaker.label == label][len(parts) * 4]
        samples, rate_hz = soundfile.read(root / speaker.utterances[0].path, dtype="float32")
        parts += [samples[: 6 * rate_hz], np.zeros(2 * rate_hz, np.float32)]
        spoken.append(label)
    found = real.timeline_samples(np.concatenate(parts), rate_hz)

    starts = np.cumsum([0, *(len(part) for part in parts)])[::2] / rate_hz
    for label, start in zip(spoken, starts, strict=False):
        within = [item for item in found.segments if start <= item.start_s < start + 6]
        right = sum(item.end_s - item.start_s for item in within if item.label == label)
        assert right > 0.6 * sum(item.end_s - item.start_s for item in within) > 2
