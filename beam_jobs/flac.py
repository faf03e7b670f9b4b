# SPDX-License-Identifier: Apache-2.0
"""FLAC decoded by dr_flac (miniaudio), which takes two thirds of the time that libFLAC does (docs/decisions/0002-records.md).

dr_flac passes over damaged frames in silence, where libFLAC says so. Each frame has a checksum, and what is passed over is
missing at the end: so a stretch is read to the end of the file, and counts only if no sample is missing there.
"""

import numpy as np
from miniaudio import ffi, lib

from beam_jobs.mixing import Samples

SIGNATURE, LAST_BLOCK, SYNC_CODES = b"fLaC", 0x80, (b"\xff\xf8", b"\xff\xf9")

MOST_READ_FOR_NOTHING = 0.5
"""Of a stretch: where more than that lies behind it, libFLAC is as fast."""


def read_flac(content: bytes, start: int, num_samples: int, of: int) -> Samples | None:
    """Decodes `num_samples` samples from `start` of a FLAC of 16 bits.

    Args:
        content: the whole file.
        start: the first sample.
        num_samples: how many.
        of: the length of the whole file, in samples.

    Returns:
        float32 [num_samples, channels] in [-1, 1]; None where libFLAC has to say whether that is damaged, or is faster.
    """
    rest = of - start
    worth_it = 0 < num_samples <= rest <= (1 + MOST_READ_FOR_NOTHING) * num_samples
    if not worth_it or not _frames_follow_metadata(content):
        return None
    flac = lib.ma_dr_flac_open_memory(ffi.from_buffer(content), len(content), ffi.NULL)
    if not flac:
        return None
    try:
        if (flac.bitsPerSample, flac.totalPCMFrameCount) != (16, of) or not lib.ma_dr_flac_seek_to_pcm_frame(flac, start):
            return None
        samples = np.empty((rest, flac.channels), np.float32)
        read = lib.ma_dr_flac_read_pcm_frames_f32(flac, rest, ffi.cast("float *", samples.ctypes.data))
        return samples[:num_samples] if read == rest else None
    finally:
        lib.ma_dr_flac_close(flac)


def _frames_follow_metadata(content: bytes) -> bool:
    """Whether the first frame is where the metadata ends: dr_flac would look for it, and libFLAC says that it is not there."""
    position, last = len(SIGNATURE), not content.startswith(SIGNATURE)
    while not last and position < len(content):
        last = content[position] >= LAST_BLOCK
        position += 4 + int.from_bytes(content[position + 1 : position + 4], "big")
    return content[position : position + 2] in SYNC_CODES
