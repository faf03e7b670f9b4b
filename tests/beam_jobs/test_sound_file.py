# SPDX-License-Identifier: Apache-2.0
"""Files whose header does not say how long they are, by other people's writers; ffmpeg is the referee of their length."""

import io
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from beam_jobs.audio import AudioError, ffmpeg_is_there, measure_audio, read_audio
from beam_jobs.audio_stream import open_audio

CASES = next((found for folder in Path(__file__).parents if (found := folder / "shared/cases").is_dir()), Path("shared/cases"))
RATE_HZ = 16_000

needs_ffmpeg = pytest.mark.skipif(not ffmpeg_is_there(), reason="no ffmpeg on the PATH (Debian: apt install ffmpeg)")


@pytest.fixture(scope="module")
def source(make_tone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A voice, a pause of 3 s, a voice: what makes a variable rate vary."""
    path = tmp_path_factory.mktemp("source") / "source.wav"
    soundfile.write(path, np.concatenate([make_tone(140, 3.0), np.zeros(3 * RATE_HZ), make_tone(200, 2.0)]), RATE_HZ)
    return path


def seconds_by_ffmpeg(path: Path) -> float:
    pcm = subprocess.run(
        ["ffmpeg", "-v", "quiet", "-i", path, "-f", "s16le", "-ac", "1", "-ar", str(RATE_HZ), "-"],
        capture_output=True,
        check=True,
    ).stdout
    return len(pcm) / 2 / RATE_HZ


def heard_everywhere(path: Path) -> tuple[float, np.ndarray]:
    """Measured for the index, decoded at once and in pieces, by name and as an open file: all the same."""
    num_samples, rate_hz = measure_audio(str(path))
    whole = read_audio(str(path))[0]
    with open_audio(str(path)) as stream:
        pieces = stream.read(10**7)
    with open_audio(io.BytesIO(path.read_bytes()), path.name) as stream:
        uploaded = stream.read(10**7)
    with path.open("rb") as file:
        opened = read_audio(file, name=path.name)[0]
    assert num_samples == len(whole)
    assert all(np.array_equal(whole, other) for other in (pieces, uploaded, opened))
    start = num_samples - 5000
    assert np.array_equal(read_audio(str(path), start, 5000)[0], whole[start:])
    assert np.array_equal(read_audio(str(path), num_samples // 2, 3000)[0], whole[num_samples // 2 :][:3000])
    return num_samples / rate_hz, whole


@needs_ffmpeg
@pytest.mark.parametrize("name", ["speech", "pause_speech", "speech_pause_speech"])
def test_the_reported_mp3s_are_heard_whole(name: str) -> None:
    path = CASES / "mp3-vbr" / f"{name}_VARIABLE_noxing.mp3"
    if not path.exists():
        pytest.skip("shared/cases is not there")
    assert heard_everywhere(path)[0] == pytest.approx(seconds_by_ffmpeg(path), abs=0.1)


@pytest.mark.parametrize(
    ("name", "seconds"), [("mp3-vbr/unknownlen.flac", 6), ("wav/data_size_0.wav", 5), ("wav/riff_and_data_ffffffff.wav", 5)]
)
def test_the_reported_files_of_unknown_length_are_heard_whole(name: str, seconds: float) -> None:
    if not (CASES / name).exists():
        pytest.skip("shared/cases is not there")
    found_s, samples = heard_everywhere(CASES / name)
    assert found_s == seconds
    if name.startswith("wav"):
        assert samples == pytest.approx(read_audio(str(CASES / "wav/ref.wav"))[0], abs=1e-4)


@needs_ffmpeg
@pytest.mark.parametrize(
    "options",
    ["-V5 -t", "-V9 -t --resample 8", "-V2 -t --resample 44.1", "-V5 -t -m s -a", "--abr 40 -t", "-b 64 -t", "-V5", "-V5 -t -p"],
)
def test_what_lame_writes_is_heard_whole(source: Path, tmp_path: Path, options: str) -> None:
    if not shutil.which("lame"):
        pytest.skip("no lame on the PATH (Debian: apt install lame)")
    path = tmp_path / "a.mp3"
    subprocess.run(["lame", "--quiet", *options.split(), source, path], check=True)
    assert heard_everywhere(path)[0] == pytest.approx(seconds_by_ffmpeg(path), abs=0.15)


@needs_ffmpeg
def test_tags_in_front_and_behind_do_no_harm(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    tags = ["-metadata", "title=a", "-id3v2_version", "3", "-write_id3v1", "1"]
    subprocess.run(["ffmpeg", "-v", "error", "-i", source, "-write_xing", "0", "-q:a", "6", *tags, path], check=True)
    assert path.read_bytes().startswith(b"ID3")
    assert heard_everywhere(path)[0] == pytest.approx(seconds_by_ffmpeg(path), abs=0.1)


WRITERS: dict[str, Callable[[Path], list[str]]] = {
    "sox.wav": lambda source: ["sox", str(source), "-t", "wav", "-"],
    "sox.au": lambda source: ["sox", str(source), "-t", "au", "-"],
    "sox.aiff": lambda source: ["sox", str(source), "-t", "aiff", "-"],
    "ffmpeg.wav": lambda source: ["ffmpeg", "-v", "error", "-i", str(source), "-f", "wav", "-"],
    "ffmpeg.flac": lambda source: ["ffmpeg", "-v", "error", "-i", str(source), "-f", "flac", "-"],
    "ffmpeg.au": lambda source: ["ffmpeg", "-v", "error", "-i", str(source), "-f", "au", "-"],
    "ffmpeg.mp3": lambda source: ["ffmpeg", "-v", "error", "-i", str(source), "-f", "mp3", "-q:a", "6", "-"],
    "lame.mp3": lambda source: ["lame", "--quiet", "-V5", str(source), "-"],
    "flac.flac": lambda source: ["flac", "--silent", "-c", str(source)],
    "oggenc.ogg": lambda source: ["oggenc", "-Q", "-o", "-", str(source)],
    "opusenc.opus": lambda source: ["opusenc", "--quiet", str(source), "-"],
}


@needs_ffmpeg
@pytest.mark.parametrize("name", WRITERS)
def test_what_programs_write_to_a_pipe_is_heard_whole(source: Path, tmp_path: Path, name: str) -> None:
    command = WRITERS[name](source)
    if not shutil.which(command[0]):
        pytest.skip(f"no {command[0]} on the PATH (Debian: apt install sox lame flac vorbis-tools opus-tools)")
    path = tmp_path / name
    path.write_bytes(subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout)
    assert heard_everywhere(path)[0] == pytest.approx(seconds_by_ffmpeg(path), abs=0.15) == pytest.approx(8, abs=0.25)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<!DOCTYPE html><html><title>404</title></html>", "it is an HTML page, such as a server's error message"),
        (b"\n <html>", "it is an HTML page, such as a server's error message"),
        (b'{"error": "expired"}', "it is a text file, such as a server's error message"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "it is a Git LFS pointer, and the recording was not fetched; run"),
        (b"PK\x03\x04" + bytes(100), "it is a ZIP archive"),
        (b"\0\0\0\x20ftypM4A " + bytes(100), "it is an MP4 file; give its name the ending .m4a"),
        (bytes(5000), "it begins with nothing but zeros, like an interrupted download"),
        (b"", "the file is empty"),
        (("ü" * 300).encode(), "it is a text file"),
    ],
)
@pytest.mark.parametrize("name", ["a.mp3", "a.flac", "a.wav", "a.m4a"])
def test_a_file_that_is_something_else_says_what(tmp_path: Path, content: bytes, reason: str, name: str) -> None:
    if name == "a.m4a" and (not ffmpeg_is_there() or b"ftyp" in content):
        pytest.skip("ffmpeg's own words")
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(AudioError) as measured:
        measure_audio(str(path))
    with pytest.raises(AudioError) as read:
        read_audio(io.BytesIO(content), name=name)
    with pytest.raises(AudioError) as streamed, open_audio(str(path)) as stream:
        stream.read(1)
    for caught in (measured, read, streamed):
        assert str(caught.value).startswith(f"cannot be decoded: {reason}")
