# SPDX-License-Identifier: Apache-2.0
"""Recordings of any length, decoded piece by piece: what `read_audio` gives, in the memory of one piece."""

import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath
from typing import IO

import numpy as np
import soundfile

from beam_jobs.audio import (
    FFMPEG_FORMATS,
    NO_FFMPEG,
    check_readable,
    ffmpeg_is_there,
    needs_ffmpeg,
)
from beam_jobs.content import described
from beam_jobs.mixing import Samples
from beam_jobs.sound_file import PIECE, AudioError, not_decodable, open_sound

WAV_FLOAT, WAV_PCM, WAV_EXTENSIBLE = 3, 1, 0xFFFE


@dataclass(frozen=True)
class AudioStream:
    """A recording that is being decoded.

    Attributes:
        sample_rate_hz: its own.
        read: how many samples -> the next ones, mono float32, full scale 1.0; fewer at the end, and then none.
    """

    sample_rate_hz: int
    read: Callable[[int], Samples]


@contextmanager
def open_audio(file: str | IO[bytes], name: str | None = None) -> Iterator[AudioStream]:
    """Opens a recording to be read from its beginning to its end, mixed down to mono.

    Who decodes follows from the name's ending, as in `read_audio`; without one, ffmpeg tries what libsndfile does not know.

    Args:
        file: a path, or an open file.
        name: an open file's name.

    Raises:
        AudioError: not decodable, or holding NaN or infinity; from `read` too. That it is empty shows there alone.
    """
    name = name or (file if isinstance(file, str) else "")
    if isinstance(file, str):
        check_readable(file)
    if needs_ffmpeg(name):
        with _by_ffmpeg(file, name) as stream:
            yield stream
        return
    try:
        source = open_sound(file)
    except AudioError:
        if PurePath(name).suffix or not ffmpeg_is_there():
            raise
        if not isinstance(file, str):
            file.seek(0)
        with _by_ffmpeg(file, name) as stream:
            yield stream
        return
    with source:

        def read(samples: int) -> Samples:
            try:
                return _mono(source.read(samples, dtype="float32", always_2d=True))
            except (soundfile.LibsndfileError, RuntimeError) as error:
                raise not_decodable(file, error) from None

        yield AudioStream(source.samplerate, _in_pieces(read))


@contextmanager
def _by_ffmpeg(file: str | IO[bytes], name: str) -> Iterator[AudioStream]:
    if not ffmpeg_is_there():
        raise AudioError(NO_FFMPEG)
    if isinstance(file, str):
        with _ffmpeg(file) as stream:
            yield stream
        return
    # MP4 and others have their index at the end.
    with tempfile.NamedTemporaryFile(suffix=PurePath(name).suffix) as copy:
        shutil.copyfileobj(file, copy)
        copy.flush()
        with _ffmpeg(copy.name) as stream:
            yield stream


@contextmanager
def _ffmpeg(path: str) -> Iterator[AudioStream]:
    # `file:` so that no name is taken for an address; without -nostdin ffmpeg would read what is typed.
    source = ["ffmpeg", "-nostdin", "-v", "error", "-format_whitelist", FFMPEG_FORMATS, "-i", f"file:{path}"]
    with (
        tempfile.TemporaryFile() as messages,
        subprocess.Popen(
            [*source, "-vn", "-c:a", "pcm_f32le", "-f", "wav", "-"], stdout=subprocess.PIPE, stderr=messages
        ) as process,
    ):
        assert process.stdout is not None
        out = process.stdout

        def check_end() -> None:
            if process.wait():
                messages.seek(0)
                lines = messages.read().decode(errors="replace").strip().splitlines()
                no_audio = any("does not contain any stream" in line for line in lines)
                why = "no audio in it" if no_audio else (lines or ["ffmpeg failed"])[-1].rsplit(": ", 1)[-1].lower()
                raise AudioError(f"cannot be decoded: {described(path) or why}")

        try:
            try:
                sound = read_wav_header(out)
            except AudioError:
                check_end()
                raise

            stream = stream_of(out, sound)

            def read(samples: int) -> Samples:
                found = stream.read(samples)
                if len(found) < samples:
                    check_end()
                return found

            yield AudioStream(sound.sample_rate_hz, _in_pieces(read))
        finally:
            process.kill()


@dataclass(frozen=True)
class WavFormat:
    """What the samples of a WAV stream are."""

    tag: int
    channels: int
    sample_rate_hz: int
    bits: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return self.channels * self.bits // 8

    def decode(self, content: bytes) -> np.ndarray:
        """Whole frames -> float32 [samples, channels], full scale 1.0; what is left of a frame is left out."""
        whole = len(content) - len(content) % self.frame_bytes
        kind = {(WAV_FLOAT, 32): "<f4", (WAV_FLOAT, 64): "<f8", (WAV_PCM, 16): "<i2", (WAV_PCM, 32): "<i4"}[self.tag, self.bits]
        samples = np.frombuffer(content[:whole], kind).reshape(-1, self.channels)
        scale = 1.0 if self.tag == WAV_FLOAT else 2.0 ** (1 - self.bits)
        return samples.astype(np.float32) * np.float32(scale)


def read_wav_header(stream: IO[bytes], start: bytes = b"") -> WavFormat:
    """Reads a WAV file that comes through a pipe up to its first sample; how long it says it is counts for nothing.

    `start` is what was read of it before.

    Raises:
        AudioError: it is none, or of an encoding other than PCM of 16 or 32 bits and float.
    """
    start += stream.read(12 - len(start))
    if start[:4] not in (b"RIFF", b"RF64") or start[8:] != b"WAVE":
        raise AudioError("not a WAV stream")
    found = None
    while len(head := stream.read(8)) == 8:
        name, size = head[:4], int.from_bytes(head[4:], "little")
        if name == b"data":
            break
        content = stream.read(size + size % 2)
        if name == b"fmt " and len(content) >= 16:
            tag, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", content)
            if tag == WAV_EXTENSIBLE and len(content) >= 26:
                tag = int.from_bytes(content[24:26], "little")
            found = WavFormat(tag, channels, rate_hz, bits)
    if found is None:
        raise AudioError("a WAV stream that does not say its format")
    if (found.tag, found.bits) not in ((WAV_FLOAT, 32), (WAV_FLOAT, 64), (WAV_PCM, 16), (WAV_PCM, 32)) or not found.channels:
        raise AudioError(
            f"a WAV stream of {found.channels} channels of {found.bits} bits, format tag {found.tag}; send PCM of 16 bits"
        )
    return found


def _in_pieces(read: Callable[[int], Samples]) -> Callable[[int], Samples]:
    """The same, in pieces: minutes of many channels, which silence packs into a few kilobytes, are gigabytes before mixing."""

    def read_all(samples: int) -> Samples:
        pieces, left = [], samples
        while left > 0 and len(piece := read(min(left, PIECE))):
            pieces.append(piece)
            left -= len(piece)
        return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)

    return read_all


def stream_of(file: IO[bytes], sound: WavFormat, start: bytes = b"") -> AudioStream:
    """The samples that come through a pipe, as they come; `start` is what was read of them before."""
    waiting = [start]

    def read(samples: int) -> Samples:
        before = waiting.pop() if waiting else b""
        return _mono(sound.decode(before + file.read(samples * sound.frame_bytes - len(before))))

    return AudioStream(sound.sample_rate_hz, read)


def _mono(samples: np.ndarray) -> Samples:
    """float32 [samples, channels] -> [samples].

    Raises:
        AudioError: some are NaN or infinite.
    """
    mono: Samples = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32)
    if len(mono) and not np.isfinite([mono.max(), mono.min()]).all():
        raise AudioError("holds NaN or infinite samples")
    return mono
