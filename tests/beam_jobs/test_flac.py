# SPDX-License-Identifier: Apache-2.0
"""FLAC by dr_flac is what libFLAC makes of it, to the last bit, and what libFLAC rejects stays rejected."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from beam_jobs.audio import AudioError, read_audio
from beam_jobs.flac import read_flac

RATE_HZ = 16_000


def part_of(rng: np.random.Generator, total: int) -> tuple[int, int]:
    """A part as the generator draws them: half of the file or more, wherever."""
    num_samples = int(total * rng.uniform(0.5, 1))
    return int(rng.integers(total - num_samples + 1)), num_samples


def by_libflac(content: bytes, start: int, num_samples: int) -> np.ndarray | None:
    """The part, or None where libsndfile says that it is damaged."""
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            if start:
                file.seek(start)
            samples = file.read(num_samples, dtype="float32")
            return samples if len(samples) == num_samples else None
    except (soundfile.LibsndfileError, RuntimeError):
        return None


def by_us(content: bytes, start: int, num_samples: int) -> np.ndarray | None:
    try:
        return read_audio(io.BytesIO(content), start, num_samples, "a.flac")[0]
    except AudioError:
        return None


@pytest.mark.skipif("LIBRISPEECH_ROOT" not in os.environ, reason="LIBRISPEECH_ROOT is not set")
def test_real_recordings_whole_and_in_part():
    files = sorted(Path(os.environ["LIBRISPEECH_ROOT"]).rglob("*.flac"))
    rng, by_dr_flac = np.random.default_rng(0), 0
    for path in files:
        content = path.read_bytes()
        expected = soundfile.read(path, dtype="float32")[0]
        for start, num_samples in ((0, len(expected)), part_of(rng, len(expected))):
            samples = read_flac(content, start, num_samples, len(expected))
            by_dr_flac += samples is not None

            assert np.array_equal(read_audio(str(path), start, num_samples)[0], expected[start : start + num_samples])
            assert samples is None or np.array_equal(samples[:, 0], expected[start : start + num_samples])
    assert len(files) > 200
    assert by_dr_flac > 1.8 * len(files)  # libFLAC reads those with much behind the part


@pytest.mark.parametrize(("channels", "subtype"), [(1, "PCM_16"), (2, "PCM_16"), (1, "PCM_24"), (1, "PCM_S8")])
def test_other_depths_and_channels(channels, subtype):
    samples, file = np.random.default_rng(0).uniform(-0.9, 0.9, (3 * RATE_HZ, channels)), io.BytesIO()
    soundfile.write(file, samples, RATE_HZ, format="FLAC", subtype=subtype)

    file.seek(0)

    found, rate_hz = read_audio(file, 10_000, 30_000, "a.flac")

    file.seek(0)
    whole = soundfile.read(file, dtype="float32", always_2d=True)[0]
    assert rate_hz == RATE_HZ
    assert np.array_equal(found, whole[10_000:40_000].mean(axis=1, dtype=np.float32))
    is_read = read_flac(file.getvalue(), 10_000, 30_000, len(whole)) is not None
    assert is_read == (subtype == "PCM_16")


def test_a_header_that_claims_centuries_costs_nothing():
    file = io.BytesIO()
    soundfile.write(file, np.zeros(RATE_HZ), RATE_HZ, format="FLAC")
    content = bytearray(file.getvalue())
    content[21] |= 0x0F  # of 36 bits for the length

    assert read_flac(bytes(content), 0, RATE_HZ, int.from_bytes(content[21:26], "big") & 0xFFFFFFFFF) is None


def damaged(rng: np.random.Generator, content: bytes) -> bytes:
    """With one damage: a bit, zeros or noise for a stretch, a stretch less or more, no end, or a bit of a frame's header."""
    found, at = bytearray(content), int(rng.integers(len(content)))
    length = min(int(rng.integers(1, 5000)), len(content) - at)
    kind = rng.integers(7)
    if kind == 0:
        found[at] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        found[at : at + length] = bytes(length)
    elif kind == 2:
        found[at : at + length] = rng.bytes(length)
    elif kind == 3:
        del found[at : at + length]
    elif kind == 4:
        del found[at:]
    elif kind == 5:
        found += rng.bytes(length)
    else:
        frame = max(found.find(b"\xff\xf8", at), found.rfind(b"\xff\xf8"))
        found[frame + int(rng.integers(7))] ^= 1 << int(rng.integers(8))
    return bytes(found)


@pytest.mark.skipif("LIBRISPEECH_ROOT" not in os.environ, reason="LIBRISPEECH_ROOT is not set")
def test_damaged_recordings_are_rejected_as_libflac_rejects_them():
    rng = np.random.default_rng(1)
    rejected = used = 0
    for path in sorted(Path(os.environ["LIBRISPEECH_ROOT"]).rglob("*.flac"))[::4]:
        for _ in range(4):
            content = damaged(rng, path.read_bytes())
            start, num_samples = part_of(rng, soundfile.info(path).frames)

            expected, found = by_libflac(content, start, num_samples), by_us(content, start, num_samples)

            if expected is None:
                rejected += 1
                assert found is None
            else:
                used += 1
                assert np.array_equal(found, expected)
    assert rejected > 100
    assert used > 30
