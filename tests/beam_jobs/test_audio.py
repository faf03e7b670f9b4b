# SPDX-License-Identifier: Apache-2.0
"""What can be decoded is mono float32 at its own rate; what cannot is refused in words."""

import io
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from pydub import AudioSegment

from beam_jobs.audio import AudioError, ffmpeg_is_there, measure_audio, read_audio, resample
from beam_jobs.errors import UserError


@pytest.fixture
def speech(make_tone: Callable[..., np.ndarray]) -> np.ndarray:
    """Two seconds at 16 kHz."""
    return make_tone(150, 2.0)


def reason(path: Path, *part: Any) -> str:
    """Why it is refused: the same for a path and for an open file."""
    with pytest.raises(AudioError) as by_path:
        read_audio(str(path), *part)
    with pytest.raises(AudioError) as by_file:
        read_audio(io.BytesIO(path.read_bytes()), *part)
    assert str(by_path.value) == str(by_file.value)
    return str(by_path.value)


@pytest.mark.parametrize(
    ("name", "subtype", "step"), [("a.flac", "PCM_16", 2**-15), ("a.flac", "PCM_24", 2**-23), ("a.wav", "FLOAT", 0)]
)
def test_depths(tmp_path: Path, speech: np.ndarray, name: str, subtype: str, step: float) -> None:
    soundfile.write(tmp_path / name, speech, 16_000, subtype=subtype)

    samples, rate_hz = read_audio(str(tmp_path / name))

    assert (samples.dtype, samples.shape, rate_hz) == (np.float32, (32_000,), 16_000)
    assert np.abs(samples - speech).max() <= step


def test_stereo_is_mixed_down(tmp_path: Path, speech: np.ndarray) -> None:
    soundfile.write(tmp_path / "a.flac", np.stack([speech, -speech / 2], axis=1), 16_000, subtype="PCM_24")

    samples, _ = read_audio(str(tmp_path / "a.flac"))

    assert samples == pytest.approx(speech / 4, abs=1e-6)


@pytest.mark.parametrize("rate_hz", [8_000, 44_100])
def test_a_file_of_another_rate_is_resampled(tmp_path: Path, make_tone: Callable[..., np.ndarray], rate_hz: int) -> None:
    soundfile.write(tmp_path / "a.flac", make_tone(150, 2.0, sample_rate_hz=rate_hz), rate_hz)

    samples, found_hz = read_audio(str(tmp_path / "a.flac"))
    resampled = resample(samples, found_hz, 16_000)

    assert found_hz == rate_hz
    assert (resampled.dtype, len(resampled)) == (np.float32, 32_000)
    spectrum = np.abs(np.fft.rfft(resampled[8000:24_000] * np.hanning(16_000)))
    assert spectrum[100:200].argmax() + 100 == pytest.approx(150, abs=3)


def test_equal_rates_change_nothing(speech: np.ndarray) -> None:
    assert resample(speech, 16_000, 16_000) is speech


def test_a_part_is_what_the_whole_holds_there(tmp_path: Path, speech: np.ndarray) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, speech, 16_000)
    whole, _ = read_audio(str(path))

    for start, num_samples in ((0, 1), (5_000, 12_345), (31_999, 1)):
        part, _ = read_audio(str(path), start, num_samples)
        remote, _ = read_audio(io.BytesIO(path.read_bytes()), start, num_samples)
        assert np.array_equal(part, whole[start : start + num_samples])
        assert np.array_equal(remote, part)


def test_a_path_with_spaces_and_non_ascii_letters(tmp_path: Path, speech: np.ndarray) -> None:
    path = tmp_path / "ein Örtchen 声" / "ü b.flac"
    path.parent.mkdir()
    soundfile.write(path, speech, 16_000)

    assert len(read_audio(str(path))[0]) == 32_000


def test_a_text_file_named_flac(tmp_path: Path) -> None:
    (tmp_path / "a.flac").write_text("I am no audio.\n" * 100)

    assert reason(tmp_path / "a.flac") == "cannot be decoded: it is a text file"


def test_a_flac_cut_in_the_middle_is_usable_up_to_there(tmp_path: Path, speech: np.ndarray) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, speech, 16_000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    assert len(read_audio(str(path), 0, 4_000)[0]) == 4_000
    assert reason(path).startswith("cannot be decoded")
    assert reason(path, 8_000, 20_000).startswith(("cannot be decoded", "ends "))
    assert reason(path, 30_000, 1_000).startswith(("cannot be decoded", "ends "))


@pytest.mark.parametrize("name", ["a.flac", "a.wav"])
def test_zero_samples(tmp_path: Path, name: str) -> None:
    soundfile.write(tmp_path / name, np.zeros(0, np.float32), 16_000)

    assert reason(tmp_path / name) in ("holds no samples", "cannot be decoded: the file is empty")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity(tmp_path: Path, speech: np.ndarray, bad: float) -> None:
    speech[1000] = bad
    soundfile.write(tmp_path / "a.wav", speech, 16_000, subtype="FLOAT")

    assert reason(tmp_path / "a.wav") == "holds NaN or infinite samples"
    assert len(read_audio(str(tmp_path / "a.wav"), 2_000)[0]) == 30_000


def test_a_part_beyond_the_end(tmp_path: Path, speech: np.ndarray) -> None:
    soundfile.write(tmp_path / "a.wav", speech, 16_000)

    assert reason(tmp_path / "a.wav", 31_000, 1_500) == "ends 500 samples early"


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="cannot be opened: No such file"):
        read_audio(str(tmp_path / "a.flac"))


@pytest.mark.parametrize("name", ["a.flac", "a.wav", "a.ogg", "a.mp3"])
def test_what_is_measured_is_what_is_decoded(tmp_path: Path, speech: np.ndarray, name: str) -> None:
    soundfile.write(tmp_path / name, speech, 16_000)
    path = str(tmp_path / name)

    assert measure_audio(path) == (len(read_audio(path)[0]), 16_000) == (32_000, 16_000)
    part, _ = read_audio(path, 20_000, 5_000)
    assert np.array_equal(part, read_audio(path)[0][20_000:25_000])


needs_ffmpeg = pytest.mark.skipif(not ffmpeg_is_there(), reason="no ffmpeg on the PATH (Debian: apt install ffmpeg)")


def by_ffmpeg(path: Path, speech: np.ndarray, *options: str) -> Path:
    pcm = (speech * 32767).astype("<i2").tobytes()
    AudioSegment(pcm, sample_width=2, frame_rate=16_000, channels=1).export(
        path, {".m4a": "ipod", ".aac": "adts", ".wma": "asf"}.get(path.suffix, path.suffix[1:]), parameters=list(options)
    ).close()
    return path


@needs_ffmpeg
@pytest.mark.parametrize("options", [(), ("-write_xing", "0"), ("-write_xing", "0", "-q:a", "9"), ("-b:a", "32k")])
def test_an_mp3_is_as_long_as_it_can_be_read(tmp_path: Path, speech: np.ndarray, options: tuple[str, ...]) -> None:
    path = str(by_ffmpeg(tmp_path / "a.mp3", speech, *options))
    assert measure_audio(path)[0] == len(read_audio(path)[0])


@needs_ffmpeg
@pytest.mark.parametrize("name", ["a.m4a", "a.aac", "a.webm", "a.wma"])
def test_what_libsndfile_does_not_know_is_decoded_by_ffmpeg(tmp_path: Path, speech: np.ndarray, name: str) -> None:
    path = by_ffmpeg(tmp_path / name, speech)

    samples, rate_hz = read_audio(str(path))

    assert samples.dtype == np.float32 and len(samples) / rate_hz == pytest.approx(2, abs=0.2)
    assert measure_audio(str(path)) == (len(samples), rate_hz)
    assert np.sqrt(np.mean(samples**2)) == pytest.approx(np.sqrt(np.mean(speech**2)), rel=0.1)
    part, _ = read_audio(str(path), 1_000, 500)
    assert np.array_equal(part, samples[1_000:1_500])
    remote, _ = read_audio(io.BytesIO(path.read_bytes()), 0, 8_000, str(path))
    assert np.array_equal(remote, samples[:8_000])


@needs_ffmpeg
@pytest.mark.parametrize("content", [b"", b"I am no audio." * 100, b"\x00\x00\x00\x18ftypM4A " + bytes(200)])
def test_a_file_that_ffmpeg_does_not_know_either(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.m4a").write_bytes(content)
    with pytest.raises(AudioError, match=r"^cannot be decoded: [^\n]+$"):
        measure_audio(str(tmp_path / "a.m4a"))


@needs_ffmpeg
@pytest.mark.parametrize(
    "text", ["#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{}\n#EXT-X-ENDLIST\n", "ffconcat version 1.0\nfile '{}'\n"]
)
def test_a_playlist_opens_no_other_file(tmp_path: Path, speech: np.ndarray, text: str) -> None:
    secret = by_ffmpeg(tmp_path / "secret.aac", speech)
    (tmp_path / "a.m4a").write_text(text.format(secret))
    for file in (str(tmp_path / "a.m4a"), io.BytesIO((tmp_path / "a.m4a").read_bytes())):
        with pytest.raises(AudioError, match=r"^cannot be decoded: [^\n]+$"):
            read_audio(file, name="a.m4a")


@needs_ffmpeg
def test_a_film_without_sound(tmp_path: Path) -> None:
    film = tmp_path / "a.mp4"
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "color=s=16x16:d=1", str(film)], check=True)
    with pytest.raises(AudioError, match=r"^cannot be decoded: [^\n]+$"):
        read_audio(str(film))


def test_a_missing_ffmpeg_stops_a_job_instead_of_making_other_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.m4a").write_bytes(b"")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"a\.m4a: needs ffmpeg, which is not installed"):
        read_audio(str(tmp_path / "a.m4a"))
