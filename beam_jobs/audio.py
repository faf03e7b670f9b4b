# SPDX-License-Identifier: Apache-2.0
"""Decoding and resampling: from a file of any rate, depth and channel count to mono float samples."""

import shutil
import subprocess
import tempfile
from pathlib import Path, PurePath
from typing import IO

import numpy as np
import soundfile
import soxr

from beam_jobs.content import described
from beam_jobs.errors import UserError
from beam_jobs.flac import read_flac
from beam_jobs.mixing import Samples
from beam_jobs.paths import check_file
from beam_jobs.sound_file import AudioError, not_decodable, open_sound, reason_of

LIBSNDFILE_SUFFIXES = ("", ".aif", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".sph", ".w64", ".wav")
"""Names that end so are decoded by libsndfile; all others by ffmpeg, through pydub."""

FFMPEG_SUFFIXES = (
    ".3gp", ".aac", ".ac3", ".aifc", ".amr", ".ape", ".asf", ".avi", ".awb", ".dts", ".eac3", ".flv", ".gsm", ".m4a", ".m4b",
    ".m4v", ".mka", ".mkv", ".mov", ".mp2", ".mp4", ".mpc", ".mpeg", ".mpg", ".ts", ".tta", ".voc", ".wave", ".webm", ".wma",
    ".wmv", ".wv",
)  # fmt: skip
"""What a folder is searched for beside `LIBSNDFILE_SUFFIXES`; a file that is named itself may be called anything."""

FFMPEG_FORMATS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dts,eac3,flac,flv,gsm,matroska,mov,mp3,mpc,mpc8,mpeg,mpegts,ogg,rm,sln,tta,"
    "voc,w64,wav,wv"
)
"""What ffmpeg may take a file for. No playlist: whatever its name, it would have ffmpeg open other files of this machine."""


def read_audio(file: str | IO[bytes], start: int = 0, num_samples: int = -1, name: str | None = None) -> tuple[Samples, int]:
    """Decodes `num_samples` samples from `start` (both at the file's own rate; -1: to the end), mixed down to mono.

    The decoder depends only on the file extension, so a machine without ffmpeg makes no clips rather than different ones.

    Args:
        file: a path, or an open file.
        start: the first sample.
        num_samples: how many.
        name: an open file's name.

    Returns:
        float32 samples in [-1, 1], and the sample rate in Hz.

    Raises:
        AudioError: not decodable, cut off before the part asked for ends, empty, or holding NaN or infinity.
        UserError: ffmpeg is needed and not installed.

    """
    name = name or (file if isinstance(file, str) else "")
    if isinstance(file, str):
        check_readable(file)
    if needs_ffmpeg(name):
        if not ffmpeg_is_there():
            raise UserError(f"{name}: {NO_FFMPEG}")
        samples, sample_rate_hz = _decode_by_ffmpeg(file)
        samples = samples[start : start + num_samples if num_samples >= 0 else None]
    else:
        samples, sample_rate_hz = _decode_by_libsndfile(file, start, num_samples)
    if not len(samples):
        raise AudioError("holds no samples")
    if len(samples) < num_samples:
        raise AudioError(f"ends {num_samples - len(samples)} samples early")
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32)
    if not np.isfinite([mono.max(), mono.min()]).all():
        raise AudioError("holds NaN or infinite samples")
    return mono, sample_rate_hz


def measure_audio(path: str) -> tuple[int, int]:
    """Length in samples and sample rate in Hz; from the header, or by decoding the file where that does not say.

    Raises:
        AudioError: not decodable, empty, or ffmpeg is needed and not installed.

    """
    check_readable(path)
    if needs_ffmpeg(path):
        if not ffmpeg_is_there():
            raise AudioError(NO_FFMPEG)
        samples, sample_rate_hz = read_audio(path)
        return len(samples), sample_rate_hz
    with open_sound(path) as source:
        num_samples, sample_rate_hz = source.frames, source.samplerate
        if not source.says_length:
            try:
                num_samples = source.skip(source.frames)
            except (soundfile.LibsndfileError, RuntimeError) as error:
                raise not_decodable(path, error) from None
    if num_samples == 0:
        raise AudioError("holds no samples")
    return num_samples, sample_rate_hz


def check_readable(path: str) -> None:
    """Makes sure that a path can be read to its end.

    Raises:
        AudioError: it is no file, or is not there.
    """
    try:
        check_file(path)
    except OSError as error:
        raise AudioError(f"cannot be opened: {error.strerror}") from None


NO_FFMPEG = "needs ffmpeg, which is not installed (Debian: apt-get install ffmpeg)"


def is_recording(name: str) -> bool:
    """Whether a file that is found in a folder is taken for a recording, by its name."""
    return not name.startswith(".") and PurePath(name).suffix.lower() in {*LIBSNDFILE_SUFFIXES[1:], *FFMPEG_SUFFIXES}


def needs_ffmpeg(name: str) -> bool:
    """Whether a file of this name is left to ffmpeg."""
    return PurePath(name).suffix.lower() not in LIBSNDFILE_SUFFIXES


def ffmpeg_is_there() -> bool:
    """Whether ffmpeg and ffprobe, which pydub asks for a file's format, are on the PATH."""
    return bool(shutil.which("ffmpeg") and shutil.which("ffprobe"))


def _decode_by_libsndfile(file: str | IO[bytes], start: int, num_samples: int) -> tuple[Samples, int]:
    with open_sound(file) as source:
        try:
            source.skip(start)  # libFLAC looks at the header and finds the place: a file that it refuses there is damaged
            if source.format == "FLAC" and num_samples > 0:
                samples = read_flac(_content(file), start, num_samples, source.frames)
                if samples is not None:
                    return samples, source.samplerate
            samples = source.read(num_samples, dtype="float32", always_2d=True) if num_samples >= 0 else source.read_rest()
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise not_decodable(file, error) from None
        return samples, source.samplerate


def _content(file: str | IO[bytes]) -> bytes:
    if isinstance(file, str):
        return Path(file).read_bytes()
    position = file.tell()  # libsndfile's
    file.seek(0)
    content = file.read()
    file.seek(position)
    return content


def _decode_by_ffmpeg(file: str | IO[bytes]) -> tuple[Samples, int]:
    from pydub import AudioSegment
    from pydub.exceptions import CouldntDecodeError

    if not isinstance(file, str):
        with tempfile.NamedTemporaryFile() as copy:  # what ffmpeg reads from a pipe it cannot seek in
            shutil.copyfileobj(file, copy)
            copy.flush()
            return _decode_by_ffmpeg(copy.name)
    _check_format(file)
    try:
        # Without -nostdin ffmpeg would read what is typed.
        segment = AudioSegment.from_file(file, parameters=["-nostdin"])
    except (CouldntDecodeError, FileNotFoundError) as error:
        raise AudioError(f"cannot be decoded: {reason_of(error)}") from None
    except (IndexError, KeyError, TypeError) as error:
        raise AudioError("cannot be decoded: no audio in it") from error  # pydub expects some in what ffprobe lists
    samples = np.array(segment.get_array_of_samples()).reshape(-1, segment.channels)
    return samples.astype(np.float32) / np.float32(2 ** (8 * segment.sample_width - 1)), segment.frame_rate


def _check_format(path: str) -> None:
    # pydub cannot tell ffmpeg what a file may be.
    allowed = ["-format_whitelist", FFMPEG_FORMATS, f"file:{path}"]
    done = subprocess.run(["ffprobe", "-v", "error", *allowed], capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        if what := described(path):
            raise AudioError(f"cannot be decoded: {what}")
        lines = done.stderr.strip().splitlines() or ["format not recognised"]
        raise AudioError(f"cannot be decoded: {lines[-1].rsplit(': ', 1)[-1].lower()}")


def resample(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    """Resamples by soxr (high quality); the same samples where the rates are equal.

    >>> len(resample(np.zeros(16_000, np.float32), 16_000, 22_050))
    22050
    """
    if from_hz == to_hz:
        return samples
    resampled: Samples = soxr.resample(samples, from_hz, to_hz, quality="HQ")
    return resampled
