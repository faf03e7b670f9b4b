# SPDX-License-Identifier: Apache-2.0
"""(c) The floor: decode the same parts of the same FLAC files and write as many bytes. Nothing is mixed, resampled or checked."""

from pathlib import Path

import soundfile

from beam_jobs.planning import ClipPlan


def make_clips(plans: list[ClipPlan], root: str, output: Path, record_bytes: int) -> None:
    """Decodes what the plans place, and writes `record_bytes` bytes a clip into `output`."""
    output.mkdir(parents=True)
    record = bytes(record_bytes)
    with (output / "clips.bin").open("wb") as file:
        for plan in plans:
            for placement in plan.placements:
                with soundfile.SoundFile(Path(root) / placement.utterance.path) as source:
                    source.seek(placement.offset)
                    source.read(placement.num_samples, dtype="float32")
            file.write(record)
