# SPDX-License-Identifier: Apache-2.0
"""A request log of a version in serving whose recordings are not what it was trained on."""

import dataclasses
import time
from pathlib import Path

import numpy as np

from beam_jobs.examples import frame_record
from components.watch.records import HELD_OUT, encode, hour_of, read_reference


def write_drifted_log(model: Path, folder: Path, number: int = 120, quieter_db: float = 25.0) -> None:
    """Writes requests of the last hour: the clips of the model's own reference, quieter than they are."""
    known = [record for record in read_reference(model) if record.path == HELD_OUT and record.measured]
    rng, now = np.random.default_rng(0), time.time()
    folder.mkdir(parents=True)
    with (folder / f"{hour_of(now - 60)}Z-00ff.tfrecord").open("wb") as file:
        for place in range(number):
            record = known[place % len(known)]
            level = record.level_dbfs - quieter_db + float(rng.normal(0, 0.5))
            asked = dataclasses.replace(
                record, time_s=now - 60, version=int(model.name), path="/analyse", truth=-1, level_dbfs=level
            )
            file.write(b"".join(frame_record(encode(asked))))
