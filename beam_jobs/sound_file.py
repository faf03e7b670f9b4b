# SPDX-License-Identifier: Apache-2.0
"""What libsndfile decodes, heard whole: also where a header does not say how long the file is."""

import os
from typing import IO, Any

import numpy as np
import soundfile

from beam_jobs.content import described, misnamed

PIECE = 1 << 16
"""Samples of each channel that are decoded at a time where the length is not known."""

UNKNOWN_LENGTH = 2**63 - 1
"""What libsndfile reports for a FLAC whose header leaves the length open, as a streaming encoder writes it (SF_COUNT_MAX)."""

MANY_FRAMES = 1 << 30
"""What an MP3's header is made to say: more frames than any file has (decades). libsndfile stops at that or at the end."""

MAX_WAV_HEADER_BYTES = 1 << 16


class AudioError(ValueError):
    """A file that holds no usable speech; the text says why in words."""


class Source(soundfile.SoundFile):
    """A sound file that stays where it is when told to go there; soundfile says so after each read, and FLAC decodes for it.

    Attributes:
        says_length: whether `frames` is its length; if not, reading to the end tells.
    """

    _owned: IO[bytes] | None = None

    def __init__(self, file: Any, owned: IO[bytes] | None = None) -> None:
        self.says_length = True
        self._owned = owned
        try:
            super().__init__(file, closefd=False)
        except BaseException:
            if owned:
                owned.close()
            raise

    def seek(self, frames: int, whence: int = soundfile.SEEK_SET) -> int:
        """Moves the reading position; returns it in samples."""
        if whence == soundfile.SEEK_SET and frames == super().seek(0, soundfile.SEEK_CUR):
            return frames
        position: int = super().seek(frames, whence)
        return position

    def close(self) -> None:
        """Closes it, and the file below that was opened for it."""
        super().close()
        if self._owned:
            self._owned.close()

    def skip(self, samples: int) -> int:
        """Goes on by up to so many samples; returns how many there were. Decodes where a file cannot be entered in the middle."""
        # A frame of an MP3 needs bits of those before it: mpg123 complains when it lands among them.
        if self.says_length and self.format != "MP3":
            return self.seek(min(samples, self.frames))
        left = samples
        while left and (found := len(self.read(min(left, PIECE), dtype="float32"))):
            left -= found
        return samples - left

    def read_rest(self) -> np.ndarray:
        """What is left: float32 [samples, channels]."""
        if self.says_length:
            rest: np.ndarray = self.read(dtype="float32", always_2d=True)
            return rest
        pieces = [np.zeros((0, self.channels), np.float32)]
        while len(piece := self.read(PIECE, dtype="float32", always_2d=True)):
            pieces.append(piece)
        return np.concatenate(pieces)


def open_sound(file: str | IO[bytes]) -> Source:
    """Opens a file from its beginning.

    Raises:
        AudioError: libsndfile does not know it; the text says what it is instead, where its content tells.
    """
    try:
        if isinstance(file, str):
            # Not by its name: libsndfile would take a `._name` beside it, as macOS leaves it, for the file's other half.
            opened = open(file, "rb", buffering=0)  # noqa: PTH123, SIM115 (closed with the source)
            source = Source(opened.fileno(), opened)
        else:
            source = Source(file)
    except OSError as error:
        raise AudioError(f"cannot be opened: {error.strerror}") from None
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise not_decodable(file, error) from None
    if source.format == "FLAC":
        source.says_length = source.frames != UNKNOWN_LENGTH
    elif source.format == "MP3" or (source.format in ("WAV", "WAVEX") and not source.frames):
        return _completed(source, file)
    return source


def not_decodable(file: str | IO[bytes], error: Exception) -> AudioError:
    """Why a file cannot be decoded: what it is, where its content tells, or else what the decoder says."""
    return AudioError(f"cannot be decoded: {described(file) or misnamed(file) or reason_of(error)}")


def reason_of(error: Exception) -> str:
    """What a library's error says, without what it says of itself."""
    if "possibly a pipe" in str(error):  # libsndfile of a broken MP3: it is there, and no decoder took it
        return "format not recognised"
    return str(error).rsplit(": ", 1)[-1].strip().rstrip(".").lower() or "unknown error"


def _completed(source: Source, file: str | IO[bytes]) -> Source:
    """The same file behind a header that lets libsndfile read to its end, where its own does not."""
    content = open(file, "rb") if isinstance(file, str) else file  # noqa: PTH123, SIM115 (closed with the source)
    owned = content if isinstance(file, str) else None
    is_mp3 = source.format == "MP3"
    headed = _mp3_of_any_length(content) if is_mp3 else _wav_to_its_end(content)
    if headed is None:
        if owned:
            owned.close()
            return source
        source.close()
        content.seek(0)
        return Source(content)  # the one before does not know that its file was read meanwhile
    source.close()
    completed = Source(headed, owned)
    completed.says_length = not is_mp3
    return completed


class _Headed:
    """A file whose first `skipped` bytes are others: `head`. As much of a file as libsndfile asks for."""

    def __init__(self, head: bytes, file: IO[bytes], skipped: int) -> None:
        self._head, self._file, self._skipped, self._position = head, file, skipped, 0
        self._size = len(head) + file.seek(0, os.SEEK_END) - skipped

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._position + size, self._size)
        content = self._head[self._position : end]
        if (left := end - self._position - len(content)) > 0:
            self._file.seek(self._position + len(content) - len(self._head) + self._skipped)
            content += self._file.read(left)
        self._position += len(content)
        return content

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = offset + (0, self._position, self._size)[whence]
        return self._position

    def tell(self) -> int:
        return self._position


def _mp3_of_any_length(file: IO[bytes]) -> _Headed | None:
    """An MP3 with a header that says its length in front; None where it has one.

    Without one libsndfile guesses the length from the bit rate of the first frame, and stops there. The header is a frame of
    silence that holds `Xing` and the number of frames ("MP3 audio file header", G. Bouvigne), of the kind of the first frame.
    """
    file.seek(0)
    head = file.read(10)
    # ID3v2: the tag's size stands in four bytes of seven bits.
    size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=False))
    start = 10 + size if head.startswith(b"ID3") else 0
    file.seek(start)
    frame = file.read(256)
    sync, kind, rates, mode = (*frame[:4], 0, 0, 0, 0)[:4]
    version, layer, rate = kind >> 3 & 3, kind >> 1 & 3, rates >> 2 & 3
    is_layer_3 = sync == 0xFF and kind >= 0xE0 and layer == 1 and version != 1 and rate != 3
    if not is_layer_3 or any(name in frame for name in (b"Xing", b"Info", b"VBRI")):
        return None
    is_mpeg_1, is_mono = version == 3, mode >> 6 == 3
    rate_hz = (44_100, 48_000, 32_000)[rate] >> {3: 0, 2: 1, 0: 2}[version]
    index_of_64_kbps = 5 if is_mpeg_1 else 8
    frame_bytes = (144 if is_mpeg_1 else 72) * 64_000 // rate_hz
    side_bytes = {(True, False): 32, (True, True): 17, (False, False): 17, (False, True): 9}[is_mpeg_1, is_mono]
    header = bytes([0xFF, kind | 1, index_of_64_kbps << 4 | rate << 2, mode])
    xing = b"Xing" + (1).to_bytes(4, "big") + MANY_FRAMES.to_bytes(4, "big")
    return _Headed((header + bytes(side_bytes) + xing).ljust(frame_bytes, b"\0"), file, start)


def _wav_to_its_end(file: IO[bytes]) -> _Headed | None:
    """A WAV whose data chunk reaches to the end of the file; None where it holds nothing.

    A recorder that writes to a pipe cannot go back to say how much it wrote, and leaves 0 there.
    """
    file.seek(0)
    head = file.read(MAX_WAV_HEADER_BYTES)
    position = 12
    while position + 8 <= len(head) and head[position : position + 4] != b"data":
        size = int.from_bytes(head[position + 4 : position + 8], "little")
        position += 8 + size + size % 2
    start = position + 8
    num_bytes = file.seek(0, os.SEEK_END) - start
    if num_bytes <= 0:
        return None
    return _Headed(head[: position + 4] + min(num_bytes, 0xFFFFFFFF).to_bytes(4, "little"), file, start)
