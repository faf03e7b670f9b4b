# SPDX-License-Identifier: Apache-2.0
"""A recording of any length in blocks that overlap, so that a model can hear it in the memory of one."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from beam_jobs.audio_stream import AudioStream
from beam_jobs.mixing import Samples
from components.inference.answers import STEP_S

BLOCK_S = 300
"""How much of a recording is answered at a time: at 48 kHz a few hundred megabytes."""

CONTEXT_S = 5
"""What is heard on either side of it: more than a window of the network, which is 3 s."""


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a recording.

    Attributes:
        start_s: where it begins, whole seconds.
        samples: mono float32, with what overlaps.
        steps: which of its steps are its own.
    """

    start_s: int
    samples: Samples
    steps: slice


def in_blocks(stream: AudioStream) -> Iterator[Block]:
    """Reads a recording; one that is not longer than `BLOCK_S` and `CONTEXT_S` is one block, an empty one is none."""
    rate_hz, per_second = stream.sample_rate_hz, round(1 / STEP_S)
    start_s, first = 0, 0
    samples = stream.read((BLOCK_S + CONTEXT_S) * rate_hz)
    while len(samples):
        following = stream.read(BLOCK_S * rate_hz)
        last = -CONTEXT_S * per_second if len(following) else None
        yield Block(start_s, samples, slice(first, last))
        if not len(following):
            return
        overlap = samples[-2 * CONTEXT_S * rate_hz :]
        start_s += len(samples) // rate_hz - 2 * CONTEXT_S
        samples = np.concatenate([overlap, following])
        first = CONTEXT_S * per_second
