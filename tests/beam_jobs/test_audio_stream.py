# SPDX-License-Identifier: Apache-2.0
"""Recordings decoded piece by piece: the same as at once, whoever made the file."""

import io
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from beam_jobs.audio import AudioError, ffmpeg_is_there, read_audio
from beam_jobs.audio_stream import open_audio, read_wav_header, stream_of

needs_ffmpeg = pytest.mark.skipif(not ffmpeg_is_there(), reason="no ffmpeg on the PATH (Debian: apt install ffmpeg)")


@pytest.fixture(scope="module")
def speech(make_tone):
    return make_tone(140, 2.3)


def in_pieces(file, piece=7001, **options):
    pieces = []
    with open_audio(file, **options) as stream:
        while len(found := stream.read(piece)):
            pieces.append(found)
            assert found.dtype == np.float32 and len(found) <= piece
    return np.concatenate(pieces), stream.sample_rate_hz


def by_ffmpeg(source: Path, target: Path, *options: str) -> Path:
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", source, *options, target], check=True)
    return target


@pytest.fixture(scope="module")
def stereo(speech, tmp_path_factory):
    path = tmp_path_factory.mktemp("stereo") / "a.wav"
    soundfile.write(path, np.stack([speech, 0.3 * speech[::-1]], axis=1), 16_000, subtype="PCM_24")
    return path


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.wav", ["-c:a", "pcm_s16le"]),
        ("a.wav", ["-c:a", "pcm_f64le"]),
        ("a.wav", ["-c:a", "pcm_mulaw", "-ar", "8000"]),
        ("a.wav", ["-c:a", "adpcm_ms"]),
        ("a.w64", []),
        ("a.flac", ["-ar", "44100"]),
        ("a.ogg", ["-c:a", "libvorbis"]),
        ("a.opus", []),
        ("a.mp3", []),
        ("a.mp3", ["-write_xing", "0", "-q:a", "9"]),
        ("a.aiff", []),
        ("a.m4a", []),
        ("a.aac", []),
        ("a.webm", []),
        ("a.mkv", ["-c:a", "flac"]),
        ("a.wma", ["-ar", "22050"]),
        ("a.amr", ["-ar", "8000", "-ac", "1", "-b:a", "12.2k"]),
    ],
)
def test_a_file_in_pieces_is_the_file(stereo, tmp_path, name, options):
    try:
        path = str(by_ffmpeg(stereo, tmp_path / name, *options))
    except subprocess.CalledProcessError:
        pytest.skip(f"this ffmpeg writes no {name} with {options}")
    expected, rate_hz = read_audio(path)

    found, found_rate_hz = in_pieces(path)

    assert found_rate_hz == rate_hz
    # ffmpeg's own output may be 16 bits in the one and float in the other.
    assert len(found) == len(expected) and np.abs(found - expected).max() < 2e-4
    with Path(path).open("rb") as file:
        assert np.array_equal(in_pieces(file, name=path)[0], found)


@needs_ffmpeg
def test_a_file_without_an_ending_is_tried_by_both(stereo, tmp_path):
    for name in ("a.flac", "a.m4a"):
        path = by_ffmpeg(stereo, tmp_path / name)
        expected, _ = in_pieces(str(path))
        assert np.array_equal(in_pieces(io.BytesIO(path.read_bytes()))[0], expected)
        bare = path.rename(tmp_path / "recording")
        assert np.array_equal(in_pieces(str(bare))[0], expected)


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.wav", b"no sound", "cannot be decoded: it is a text file"),
        ("a.m4a", b"no sound", "cannot be decoded: it is a text file"),
        ("recording", b"no sound", "cannot be decoded: it is a text file"),
        ("recording", b"\xfe\xfd" * 99, "cannot be decoded: invalid data found when processing input"),
        ("a.flac", b"", "cannot be decoded"),
    ],
)
def test_what_is_no_sound_says_so(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(AudioError, match=message):
        in_pieces(str(path))


@needs_ffmpeg
def test_a_film_without_sound_says_so(tmp_path):
    path = str(tmp_path / "a.mkv")
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "color=s=16x16:d=0.2", path], check=True)
    with pytest.raises(AudioError, match="no audio in it"):
        in_pieces(path)


def test_not_finite_and_not_there(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.array([0, np.nan, 0]), 8000, subtype="FLOAT")
    with pytest.raises(AudioError, match="NaN or infinite"):
        in_pieces(str(path))
    with pytest.raises(AudioError, match="No such file"):
        in_pieces(str(tmp_path / "b.wav"))


@needs_ffmpeg
def test_a_stream_that_is_left_early_leaves_no_ffmpeg_behind(stereo, tmp_path):
    path = by_ffmpeg(stereo, tmp_path / "a.m4a", "-af", "apad=pad_dur=120")

    with open_audio(str(path)) as stream:
        assert len(stream.read(1000)) == 1000

    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(path) not in running


@needs_ffmpeg
@pytest.mark.parametrize("encoding", ["pcm_s16le", "pcm_s32le", "pcm_f32le", "pcm_f64le"])
def test_the_header_of_a_recorder_that_writes_to_a_pipe(stereo, encoding):
    command = ["ffmpeg", "-v", "error", "-i", stereo, "-c:a", encoding, "-f", "wav", "-"]
    piped = io.BytesIO(subprocess.run(command, capture_output=True, check=True).stdout)
    expected, _ = read_audio(str(stereo))

    stream = stream_of(piped, read_wav_header(piped))

    assert stream.sample_rate_hz == 16_000
    assert stream.read(10_000) == pytest.approx(expected[:10_000], abs=1e-4)
    assert len(stream.read(1_000_000)) == len(expected) - 10_000 and not len(stream.read(1))


@pytest.mark.parametrize("content", [b"", b"RIFF", b"RIFF\0\0\0\0WAVE", b"RIFF\0\0\0\0WAVEdata\0\0\0\0"])
def test_a_piped_header_that_is_none(content):
    with pytest.raises(AudioError, match="WAV stream"):
        read_wav_header(io.BytesIO(content))


def test_a_piped_encoding_that_is_not_read(stereo):
    file = io.BytesIO(stereo.read_bytes())
    with pytest.raises(AudioError, match="2 channels of 24 bits"):
        read_wav_header(file)
