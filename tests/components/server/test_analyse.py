# SPDX-License-Identifier: Apache-2.0
"""`/analyse`: any format, one answer with its segments; the same that `components.inference` gives."""

import io
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from beam_jobs.audio import ffmpeg_is_there
from components.inference import load_model

CASES = next((found for folder in Path(__file__).parents if (found := folder / "shared/cases").is_dir()), None)


@pytest.fixture(scope="module")
def samples(make_voice) -> np.ndarray:
    return np.concatenate([make_voice(1, 5), np.zeros(8000, np.float32), make_voice(0, 6)])


def encoded(samples: np.ndarray, kind: str, subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, 8000, format=kind, subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "subtype"), [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None)]
)
def test_a_format_is_told_by_its_content_or_its_name(served, samples, kind, subtype):
    content = encoded(samples, kind, subtype)
    named = served.ask("POST", f"/analyse?name=voice.{'opus' if subtype == 'OPUS' else kind.lower()}", content).json
    assert named == served.ask("POST", "/analyse", content).json
    assert named["duration_s"] == pytest.approx(len(samples) / 8000, abs=0.15)


def test_it_says_what_the_inference_module_says(served, saved_models, samples):
    content = encoded(samples, "WAV", "PCM_16")
    answer = served.ask("POST", "/analyse?name=voice.wav", content).json
    timeline = load_model(saved_models["trained"]).timeline(io.BytesIO(content), "voice.wav")
    assert answer["version"] == "7"
    assert answer["label"] == timeline.prediction.label
    assert answer["probabilities"] == pytest.approx(timeline.prediction.probabilities)
    assert [one["label"] for one in answer["segments"]] == [one.label for one in timeline.segments]


@pytest.mark.parametrize(
    ("name", "duration_s"),
    [
        ("mp3-vbr/speech_pause_speech_VARIABLE_noxing.mp3", 18.4),
        ("mp3-vbr/pause_speech_VARIABLE_noxing.mp3", 20.4),
        ("mp3-vbr/unknownlen.flac", 6),
        ("wav/data_size_0.wav", 5),
        ("wav/riff_and_data_ffffffff.wav", 5),
    ],
)
def test_a_file_that_does_not_say_how_long_it_is_is_heard_whole(served, saved_models, name, duration_s):
    if CASES is None:
        pytest.skip("shared/cases is not there")
    content = (CASES / name).read_bytes()
    answer = served.ask("POST", f"/analyse?name={name.split('/')[1]}", content).json
    assert answer["duration_s"] == pytest.approx(duration_s, abs=0.1)
    assert answer["duration_s"] == load_model(saved_models["trained"]).predict(CASES / name).duration_s


def test_silence_is_no_speech(served):
    answer = served.ask("POST", "/analyse", encoded(np.zeros(8000, np.float32), "WAV", "PCM_16")).json
    assert (answer["label"], answer["speech"], answer["segments"]) == ("no speech", 0.0, [])


@pytest.mark.parametrize("content", [b"", b"text", b"RIFF\x00\x00\x00\x00WAVE", bytes(5000)])
@pytest.mark.parametrize("name", ["", "voice.wav", "voice.m4a", "../../etc/passwd", "a\0b.wav", "x" * 3000])
def test_what_cannot_be_decoded_is_refused_in_one_line(served, content, name):
    from urllib.parse import quote

    answer = served.ask("POST", f"/analyse?name={quote(name)}", content)
    assert answer.status == 400 and answer.error


@pytest.mark.skipif(not ffmpeg_is_there(), reason="no ffmpeg on the PATH")
@pytest.mark.parametrize("name", ["voice.m4a", "list.m3u8", "list.ffconcat", ""])
def test_a_playlist_does_not_read_the_servers_files(served, samples, tmp_path, name):
    secret = tmp_path / "secret.mp3"
    secret.write_bytes(encoded(samples, "MP3"))
    hls = f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{secret}\n#EXT-X-ENDLIST\n"
    for playlist in (hls, f"ffconcat version 1.0\nfile '{secret}'\n"):
        answer = served.ask("POST", f"/analyse?name={name}", playlist.encode())
        assert answer.status == 400 and answer.error.startswith("cannot be decoded")


@pytest.mark.skipif(not ffmpeg_is_there(), reason="no ffmpeg on the PATH")
@pytest.mark.parametrize("kind", ["m4a", "webm", "mka", "wma", "aac", "mp4", "avi"])
def test_what_ffmpeg_decodes(served, samples, tmp_path, kind):
    source, path = tmp_path / "voice.wav", tmp_path / f"voice.{kind}"
    source.write_bytes(encoded(samples, "WAV"))
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-i", source, path], check=True)
    answer = served.ask("POST", f"/analyse?name=voice.{kind}", path.read_bytes()).json
    assert answer["duration_s"] == pytest.approx(len(samples) / 8000, abs=0.3)  # AAC begins with silence


def test_the_page_asks_nobody_else(served):
    answer = served.ask("GET", "/")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "connect-src 'self'" in answer.headers["Content-Security-Policy"]
    assert b"http:" not in answer.body and b"https:" not in answer.body and b"src=" not in answer.body
