# SPDX-License-Identifier: Apache-2.0
"""WAV files, read inside the graph: what people have, block by block, and one clear line about what they do not have.

tf.audio.decode_wav reads 16-bit PCM alone, refuses WAVE_FORMAT_EXTENSIBLE and odd chunks, fails the whole batch, and makes
floats of all channels at once. The format: Microsoft's "Multiple Channel Audio Data and WAVE Files" and "New Multimedia Data
Types and Data Techniques", RF64: EBU Tech 3306, G.711: ITU-T.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from components.trainer.network.sound import Sound, first_problem, zeros_around

MAX_CHUNKS = 64
"""Chunks in front of the samples that are passed over; recorders write a handful."""
MAX_CHANNELS = 16
PIPED_SIZES = (0, 0xFFFFFFFF)
"""A recorder that writes to a pipe cannot go back to say how much it wrote: the samples go on to the end of the file."""

PCM, FLOAT, A_LAW, MU_LAW, EXTENSIBLE = 1, 3, 6, 7, 0xFFFE


def open_wav(contents: tf.Tensor, index: tf.Tensor) -> Sound:
    """A WAV file of a batch, its channels mixed down by their mean.

    Args:
        contents: string [batch]; nothing is ever copied of it but the block that is read.
        index: int32, which of them.

    Returns:
        The sound. What cannot be read has an `error`, and nothing else of it means anything.
    """
    file = _File(contents, index)
    header = _read_header(file)
    channels, rate_hz = _number(header.fmt, 2, 2), _number(header.fmt, 4, 4)
    frame_bytes, bits, tag = _number(header.fmt, 12, 2), _number(header.fmt, 14, 2), _number(header.fmt, 0, 2)
    # The first two bytes of an extensible file's GUID are the tag that it would have had.
    tag = tf.where(tag == EXTENSIBLE, _number(header.fmt, 24, 2), tag)
    width = (bits + 7) // 8
    fits = [(tag == encoding.tag) & (width == encoding.width) for encoding in ENCODINGS]
    error = first_problem(
        (~header.is_wav, "not a WAV file"),
        (~header.has_fmt, "not a WAV file that says its format: no fmt chunk"),
        (~header.has_data, "a WAV file without samples: no data chunk"),
        ((channels < 1) | (channels > MAX_CHANNELS), tf.strings.format("{} channels, not 1 to " + str(MAX_CHANNELS), channels)),
        (
            ~tf.reduce_any(fits),
            tf.strings.format(
                "unsupported WAV encoding: format tag {}, {} bits; "
                "PCM of 8, 16, 24 or 32 bits, float of 32 or 64 bits, A-law and mu-law are read",
                (tag, bits),
            ),
        ),
        (
            frame_bytes != channels * width,
            tf.strings.format("a damaged WAV header: {} bytes a frame for {} channels of {} bits", (frame_bytes, channels, bits)),
        ),
    )
    frame_bytes = tf.maximum(channels * width, 1)
    frames = tf.where(error == "", header.data_bytes // frame_bytes, 0)

    def read(first: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
        content = file.read(header.data_start + first * frame_bytes, length * frame_bytes)
        decoders = [lambda decode=encoding.decode: decode(content) for encoding in ENCODINGS]
        samples = tf.switch_case(tf.argmax(fits, output_type=tf.int32), decoders)
        return tf.reduce_mean(tf.reshape(samples, [length, tf.maximum(channels, 1)]), axis=1)

    return Sound(zeros_around(read, frames), frames, rate_hz, error)


class _File:
    """The bytes of one string of a batch."""

    def __init__(self, contents: tf.Tensor, index: tf.Tensor) -> None:
        self._contents = contents
        self._index = index
        self._chosen = tf.range(tf.size(contents)) == index
        self.size = tf.cast(tf.strings.length(contents)[index], tf.int64)

    def read(self, start: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
        """Bytes from `start` on, `length` of them or what is there."""
        # Of the whole batch, and nothing of the others: to take one string out of it would copy all of its bytes.
        start = tf.where(self._chosen, tf.clip_by_value(tf.cast(start, tf.int64), 0, self.size), 0)
        return tf.strings.substr(self._contents, start, tf.where(self._chosen, tf.cast(length, tf.int64), 0))[self._index]


class _Header(NamedTuple):
    """What stands in front of the samples; `fmt` is the content of the fmt chunk, filled up with zeros."""

    is_wav: tf.Tensor
    has_fmt: tf.Tensor
    has_data: tf.Tensor
    fmt: tf.Tensor
    data_start: tf.Tensor
    data_bytes: tf.Tensor


FMT_BYTES = 40


def _read_header(file: _File) -> _Header:
    """Walks over the chunks up to the one that holds the samples."""
    start = file.read(0, 12)
    form = tf.strings.substr(start, 0, 4)
    is_wav = ((form == "RIFF") | (form == "RF64")) & (tf.strings.substr(start + "\0" * 12, 8, 4) == "WAVE")

    def is_more(number: tf.Tensor, position: tf.Tensor, has_data: tf.Tensor, *_: tf.Tensor) -> tf.Tensor:
        return is_wav & ~has_data & (number < MAX_CHUNKS) & (position + 8 <= file.size)

    def next_chunk(
        number: tf.Tensor, position: tf.Tensor, has_data: tf.Tensor, fmt: tf.Tensor, long_size: tf.Tensor, size: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        name, content = file.read(position, 4), position + 8
        size = _number(_filled(file.read(position + 4, 4), 4), 0, 4)
        fmt = tf.where(name == "fmt ", file.read(content, tf.minimum(size, FMT_BYTES)), fmt)
        # RF64: the sizes that 32 bits cannot hold; that of the samples is the second.
        long_size = tf.where(name == "ds64", _number(_filled(file.read(content, 16), 16), 8, 8), long_size)
        has_data = name == "data"
        # A chunk of odd length is followed by a byte that it does not count.
        position = tf.where(has_data, content, content + size + size % 2)
        return number + 1, position, has_data, fmt, long_size, size

    begin = (0, tf.constant(12, tf.int64), False, "", tf.constant(-1, tf.int64), tf.constant(0, tf.int64))
    _, position, has_data, fmt, long_size, size = tf.while_loop(
        is_more, next_chunk, [tf.convert_to_tensor(value) for value in begin], parallel_iterations=1
    )
    left = tf.maximum(file.size - position, 0)
    size = tf.where((size == PIPED_SIZES[1]) & (long_size > 0), long_size, size)
    data_bytes = tf.where(tf.reduce_any(size == tf.constant(PIPED_SIZES, tf.int64)), left, tf.minimum(size, left))
    return _Header(is_wav, tf.strings.length(fmt) >= 16, has_data, _filled(fmt, FMT_BYTES), position, data_bytes)


def _filled(content: tf.Tensor, size: int) -> tf.Tensor:
    return tf.strings.substr(content + "\0" * size, 0, size)


def _number(content: tf.Tensor, start: int, size: int) -> tf.Tensor:
    """A little-endian whole number: int64, negative where 8 bytes say more than it holds."""
    number = tf.cast(tf.io.decode_raw(tf.strings.substr(content, start, size), tf.uint8), tf.int64)
    return tf.reduce_sum(tf.bitwise.left_shift(number, 8 * tf.range(size, dtype=tf.int64)))


class _Encoding(NamedTuple):
    """`decode` makes float32 [samples] of bytes, full scale 1.0; `width` is the bytes of a sample."""

    tag: int
    width: int
    decode: Callable[[tf.Tensor], tf.Tensor]


def _raw(kind: tf.DType, scale: float, offset: float = 0.0) -> Callable[[tf.Tensor], tf.Tensor]:
    return lambda content: (tf.cast(tf.io.decode_raw(content, kind), tf.float32) + offset) * scale


def _decode_24_bits(content: tf.Tensor) -> tf.Tensor:
    low, middle, high = tf.unstack(tf.reshape(tf.cast(tf.io.decode_raw(content, tf.uint8), tf.float32), [-1, 3]), axis=1)
    high = tf.where(high < 128, high, high - 256)
    return (low + 256 * middle + 65536 * high) / 2.0**23


def _table(values: np.ndarray) -> Callable[[tf.Tensor], tf.Tensor]:
    return lambda content: tf.gather(tf.constant(values, tf.float32), tf.cast(tf.io.decode_raw(content, tf.uint8), tf.int32))


def _a_law() -> np.ndarray:
    """G.711's A-law, float [256]: 13 bits, full scale 1.0."""
    code = np.arange(256) ^ 0x55
    exponent, mantissa = code >> 4 & 7, code & 15
    magnitude = np.where(exponent == 0, mantissa * 16 + 8, (mantissa * 16 + 264) << np.maximum(exponent - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude) / 32768


def _mu_law() -> np.ndarray:
    """G.711's mu-law, float [256]: 14 bits, full scale 1.0."""
    code = ~np.arange(256) & 0xFF
    magnitude = (((code & 15) * 8 + 132) << (code >> 4 & 7)) - 132
    return np.where(code & 0x80, -magnitude, magnitude) / 32768


ENCODINGS = (
    _Encoding(PCM, 1, _raw(tf.uint8, 2.0**-7, offset=-128.0)),
    _Encoding(PCM, 2, _raw(tf.int16, 2.0**-15)),
    _Encoding(PCM, 3, _decode_24_bits),
    _Encoding(PCM, 4, _raw(tf.int32, 2.0**-31)),
    _Encoding(FLOAT, 4, _raw(tf.float32, 1.0)),
    _Encoding(FLOAT, 8, _raw(tf.float64, 1.0)),
    _Encoding(A_LAW, 1, _table(_a_law())),
    _Encoding(MU_LAW, 1, _table(_mu_law())),
)
