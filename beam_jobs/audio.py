"""Decoding and resampling: from a file of any rate, depth and channel count to mono float samples."""

from typing import IO

import numpy as np
import soundfile
import soxr

from beam_jobs.mixing import Samples


class AudioError(ValueError):
    """A file that holds no usable speech; the text says why in words."""


class _Source(soundfile.SoundFile):
    """A sound file that stays where it is when told to go there; soundfile says so after each read, and FLAC decodes for it."""

    def seek(self, frames: int, whence: int = soundfile.SEEK_SET) -> int:
        """Moves the reading position; returns it in samples."""
        if whence == soundfile.SEEK_SET and frames == super().seek(0, soundfile.SEEK_CUR):
            return frames
        position: int = super().seek(frames, whence)
        return position


def read_audio(file: str | IO[bytes], start: int = 0, num_samples: int = -1) -> tuple[Samples, int]:
    """Decodes `num_samples` samples from `start` (both at the file's own rate; -1: to the end), mixed down to mono.

    Returns:
        float32 samples in [-1, 1], and the sample rate in Hz.

    Raises:
        AudioError: not decodable, cut off before the part asked for ends, empty, or holding NaN or infinity.

    """
    try:
        with _Source(file) as source:
            source.seek(start)
            samples = source.read(num_samples, dtype="float32", always_2d=True)
            sample_rate_hz = source.samplerate
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise AudioError(f"cannot be decoded: {_reason(error)}") from None
    if not len(samples):
        raise AudioError("holds no samples")
    if len(samples) < num_samples:
        raise AudioError(f"ends {num_samples - len(samples)} samples early")
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32)
    if not np.isfinite([mono.max(), mono.min()]).all():
        raise AudioError("holds NaN or infinite samples")
    return mono, sample_rate_hz


def _reason(error: Exception) -> str:
    return str(error).rsplit(": ", 1)[-1].strip().rstrip(".").lower() or "unknown error"


def resample(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    """Resamples by soxr (high quality); the same samples where the rates are equal."""
    if from_hz == to_hz:
        return samples
    resampled: Samples = soxr.resample(samples, from_hz, to_hz, quality="HQ")
    return resampled
