# SPDX-License-Identifier: Apache-2.0
"""Logs of requests as `serve --log` writes them, and the reference of the model that answered."""

import dataclasses
import time
from pathlib import Path

import numpy as np

from beam_jobs.examples import frame_record
from components.watch.records import CANARY, HELD_OUT, TRAIN, Record, encode, hour_of, write_reference

DAY_S = 86_400.0


def drawn(rng: np.random.Generator, number: int, shift: float = 0.0, sure: float = 0.9) -> list[Record]:
    """Requests of two kinds of voices, all measures of which move with `shift`."""
    found = []
    for _ in range(number):
        label = int(rng.integers(2))
        right = rng.random() < sure
        probabilities = np.array([sure, 1 - sure], np.float32)[:: 1 if (label == 0) == right else -1]
        found.append(
            Record(
                version=5,
                path="/analyse",
                truth=label,
                duration_s=float(rng.uniform(2, 9)),
                speech=float(rng.uniform(0.5, 0.95)),
                label="ab"[int(probabilities.argmax())],
                classes=("a", "b"),
                probabilities=probabilities,
                level_dbfs=float(rng.normal(-25 + 10 * shift, 3)),
                clipping=float(10 ** rng.normal(-4, 0.3)),
                band_hz=float(rng.normal(7000 - 3000 * shift, 200)),
                mel=rng.normal(-40, 5, 32).astype(np.float32) + np.linspace(0, 20 * shift, 32, dtype=np.float32),
                embedding=rng.normal(label + 3 * shift, 1, 24).astype(np.float32),
            )
        )
    return found


def write_serving(serving: Path) -> Path:
    """A serving folder with a version 5 that has a reference; its network is never asked."""
    rng = np.random.default_rng(1)
    folder = serving / "5"
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"a network")
    held_out = [dataclasses.replace(record, path=HELD_OUT, version=0) for record in drawn(rng, 300)]
    train = [dataclasses.replace(record, path=TRAIN, version=0) for record in drawn(rng, 100)]
    canary = dataclasses.replace(held_out[0], path=CANARY, audio=b"RIFF")
    write_reference(folder, [*held_out, *train, canary])
    return serving


def write_log(folder: Path, records: list[Record]) -> list[Path]:
    """As the server writes it: a file an hour."""
    folder.mkdir(exist_ok=True)
    by_hour: dict[str, list[Record]] = {}
    for record in records:
        by_hour.setdefault(hour_of(record.time_s), []).append(record)
    paths = []
    for hour, found in by_hour.items():
        paths.append(folder / f"{hour}Z-00ff.tfrecord")
        with paths[-1].open("ab") as file:
            file.write(b"".join(part for record in found for part in frame_record(encode(record))))
    return paths


def at(records: list[Record], days_ago: float) -> list[Record]:
    return [
        dataclasses.replace(record, time_s=time.time() - days_ago * DAY_S - place / 1000) for place, record in enumerate(records)
    ]
