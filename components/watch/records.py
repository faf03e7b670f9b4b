# SPDX-License-Identifier: Apache-2.0
"""What is kept of a request, and of a clip of the training set to compare it with: measures and scores as a tf.Example.

Audio is in it only where an operator asked for it. A log is a folder of TFRecord files, one or more for each hour.
"""

import dataclasses
import datetime
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from beam_jobs.errors import UserError
from beam_jobs.examples import RecordError, frame_record, read_records
from beam_jobs.files import open_file
from components.watch.fields import GROUPS

REFERENCE_FILE = "assets.extra/reference.tfrecord"
"""Of a model, within its folder: part of what is digested and signed."""
TRAIN, HELD_OUT, CANARY = "train", "eval", "canary"
"""What a record of the reference is: a training clip, one of a speaker whom training has not heard, the one for the skew."""
FILE_NAME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d)Z-[0-9a-z-]+\.tfrecord")

NO_VECTOR = np.zeros(0, np.float32)


@dataclass(frozen=True)
class Record:
    """A request or a clip. Measures are as `components.trainer.network.answers.Measures` has them; 0 or empty if not kept.

    Attributes:
        time_s: seconds since 1970, UTC; 0 of a clip.
        version: that answered; 0 of a clip.
        path: the route by which it came; the split of a clip.
        name: the clip's id; of a request the name of the file, where its audio is kept.
        truth: the clip's label; -1 where nobody knows.
        label: of the answer; empty where there is no speech or an error.
        classes: in the order of `probabilities`.
        audio: the file as it was sent; empty where it is not kept.
    """

    time_s: float = 0.0
    version: int = 0
    path: str = ""
    name: str = ""
    truth: int = -1
    duration_s: float = 0.0
    speech: float = 0.0
    error: str = ""
    label: str = ""
    classes: tuple[str, ...] = ()
    probabilities: np.ndarray = field(default_factory=lambda: NO_VECTOR)
    level_dbfs: float = 0.0
    clipping: float = 0.0
    band_hz: float = 0.0
    mel: np.ndarray = field(default_factory=lambda: NO_VECTOR)
    embedding: np.ndarray = field(default_factory=lambda: NO_VECTOR)
    audio: bytes = b""

    @property
    def measured(self) -> bool:
        """Whether it was heard and has speech: only then do its measures say anything."""
        return self.speech > 0 and not self.error

    def kept(self, groups: frozenset[str]) -> "Record":
        """The record with those of `GROUPS` alone."""
        gone = (name for group, names in GROUPS.items() if group not in groups for name in names)
        defaults = Record()
        return dataclasses.replace(self, **{name: getattr(defaults, name) for name in gone})


def encode(record: Record) -> bytes:
    """As a serialized tf.Example."""
    example = tf.train.Example()
    feature = example.features.feature
    for name, value in vars(record).items():
        match value:
            case bool() | int():
                feature[name].int64_list.value.append(value)
            case float():
                # A float feature has 24 bits: of a time, minutes would be left.
                if name == "time_s":
                    feature[name].int64_list.value.append(round(value * 1000))
                else:
                    feature[name].float_list.value.append(value)
            case np.ndarray():
                feature[name].float_list.value.extend(value.tolist())
            case tuple():
                feature[name].bytes_list.value.extend(item.encode() for item in value)
            case str():
                feature[name].bytes_list.value.append(value.encode(errors="replace"))
            case bytes():
                feature[name].bytes_list.value.append(value)
    return bytes(example.SerializeToString(deterministic=True))


def decode(content: bytes) -> Record:
    """Reads what `encode` wrote.

    Raises:
        RecordError: it is something else.
    """
    try:
        feature = tf.train.Example.FromString(content).features.feature
        defaults, found = vars(Record()), {}
        for name, default in defaults.items():
            given = feature[name]
            value: Any
            if name == "time_s":
                value = given.int64_list.value[0] / 1000
            elif isinstance(default, int):
                value = given.int64_list.value[0]
            elif isinstance(default, float):
                value = given.float_list.value[0]
            elif isinstance(default, np.ndarray):
                value = np.array(given.float_list.value, np.float32)
            elif isinstance(default, tuple):
                value = tuple(item.decode() for item in given.bytes_list.value)
            else:
                value = given.bytes_list.value[0]
                value = value.decode() if isinstance(default, str) else value
            found[name] = value
    except (DecodeError, IndexError, UnicodeDecodeError):
        raise RecordError("not a record of a request") from None
    return Record(**found)


def read_file(path: str) -> Iterator[Record | RecordError]:
    """The records of a file as far as it is whole; what a killed server left of its last one, or damage, comes as an error.

    Raises:
        OSError: it cannot be read.
    """
    with open_file(path) as file:
        try:
            for content in read_records(file):
                try:
                    yield decode(content)
                except RecordError as error:
                    yield error
        except RecordError as error:
            yield error


def read_reference(folder: Path) -> list[Record]:
    """The reference of a model.

    Args:
        folder: of a version.

    Raises:
        UserError: there is none, or it is damaged.
    """
    path = folder / REFERENCE_FILE
    try:
        found = list(read_file(str(path)))
    except FileNotFoundError:
        raise UserError(
            f"{folder}: has no reference ({REFERENCE_FILE}), because its model was trained before there were any; "
            "train and push a new one"
        ) from None
    for record in found:
        if isinstance(record, RecordError):
            raise UserError(f"{path}: damaged ({record}); push the version again")
    return [record for record in found if isinstance(record, Record)]


def write_reference(folder: Path, records: list[Record]) -> None:
    """Writes it into the folder of a SavedModel."""
    path = folder / REFERENCE_FILE
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"".join(part for record in records for part in frame_record(encode(record))))


def hour_of(time_s: float) -> str:
    """The hour with which the names of its files begin: `2026-11-26T22`, UTC."""
    return datetime.datetime.fromtimestamp(time_s, datetime.UTC).strftime("%Y-%m-%dT%H")
