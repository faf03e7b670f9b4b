# SPDX-License-Identifier: Apache-2.0
"""Checking a dataset: every byte of it once, near the data."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import apache_beam as beam

from beam_jobs.clip_store import ClipsReference, read_index, stream_shard
from beam_jobs.config import SPLITS
from beam_jobs.dataset import INFO_FILE, DatasetInfo, ShardInfo
from beam_jobs.errors import UserError, one_line_errors
from beam_jobs.examples import FRAME_BYTES, Clip, RecordError, decode_clip, encode_index_entry, frame_record
from beam_jobs.labels import MIXED
from beam_jobs.planning import rare_class

AGAIN = "generate the dataset again: remove its folder, then give the same command"

SEGMENT_TOLERANCE_S = 1e-3
"""Single floats are this far apart at most, within the longest clip."""


def check_description(dataset: str, info: DatasetInfo, min_class_share: float) -> None:
    """Checks what the description says, without reading a clip.

    Raises:
        UserError: a speaker is in two splits, or a class is rarer than `min_class_share`.
    """
    _check_speakers(dataset, info)
    _check_balance(dataset, info, min_class_share)


def check_clips(dataset: str, info: DatasetInfo, pipeline: beam.Pipeline) -> None:
    """Reads every shard and its index once, and holds them against each other and against the description.

    Raises:
        UserError: a file is gone, or is not what the description says, or a record is not a clip of this dataset.
    """
    with one_line_errors(), pipeline:
        _ = (
            pipeline
            | "Shards" >> beam.Create(info.shards, reshuffle=False)
            | "Spread" >> beam.Reshuffle()
            | "CheckShard" >> beam.ParDo(CheckShard(dataset, info))
            | "Together" >> beam.CombineGlobally(_add_counters)
            | "CheckCounts" >> beam.Map(_check_counts, dataset, info)
        )


def _check_speakers(dataset: str, info: DatasetInfo) -> None:
    splits: dict[str, list[str]] = defaultdict(list)
    for split, speakers in info.speakers.items():
        for speaker in set(speakers):
            splits[speaker].append(split)
    shared = sorted(speaker for speaker, names in splits.items() if len(names) > 1)
    if shared:
        raise UserError(
            f"{dataset}: speaker {shared[0]} is in {' and '.join(splits[shared[0]])}, so the test would not be fair; {AGAIN}"
        )


def _check_balance(dataset: str, info: DatasetInfo, min_class_share: float) -> None:
    for split in SPLITS:
        counts = dict.fromkeys(info.classes, 0) | info.counts.get(split, {})
        if name := rare_class(counts, min_class_share):
            raise UserError(
                f"{dataset}: {counts[name]} of the {sum(counts.values())} clips of split {split} are {name}, "
                f"less than data.min_class_share {min_class_share:g}; generate more clips or lower the share"
            )


class CheckShard(beam.DoFn):
    """Reads a shard and its index once, record by record."""

    def __init__(self, dataset: str, info: DatasetInfo) -> None:
        self._reference = ClipsReference(dataset_uri=dataset, fingerprint="", shards=[])
        self._num_bytes = 2 * info.clips.num_samples
        self._sample_rate_hz = info.clips.sample_rate_hz
        self._classes = info.classes
        self._speakers = {split: frozenset(speakers) for split, speakers in info.speakers.items()}

    def process(self, shard: ShardInfo) -> Iterator[dict[str, int]]:
        """Yields the number of clips by `split/class`."""
        index = read_index(self._reference, shard, AGAIN)
        counts: Counter[str] = Counter()
        found, num_bytes = hashlib.sha256(), 0
        try:
            for record in stream_shard(self._reference, shard, AGAIN):
                clip = decode_clip(record)
                self._check(clip, shard.split)
                counts[f"{shard.split}/{self._classes[clip.label]}"] += 1
                for part in frame_record(encode_index_entry(clip, num_bytes, len(record) + FRAME_BYTES)):
                    found.update(part)
                num_bytes += len(record) + FRAME_BYTES
            if counts.total() != shard.num_records:
                raise RecordError(f"{counts.total()} records where {INFO_FILE} says {shard.num_records}")
            if found.digest() != hashlib.sha256(index).digest():
                raise RecordError(f"its clips are not what {shard.index_file} says")
        except RecordError as error:
            raise UserError(f"{self._reference.location(shard.file)}: {error}; {AGAIN}") from None
        yield dict(counts)

    def _check(self, clip: Clip, split: str) -> None:
        strangers = set(clip.speaker_ids) - self._speakers.get(split, frozenset())
        if strangers:
            raise RecordError(f"clip {clip.id} holds speaker {min(strangers)}, who is not in split {split}")
        if clip.pcm16.nbytes != self._num_bytes or clip.sample_rate_hz != self._sample_rate_hz:
            raise RecordError(
                f"clip {clip.id} has {len(clip.pcm16)} samples at {clip.sample_rate_hz} Hz, "
                f"not {self._num_bytes // 2} at {self._sample_rate_hz}"
            )
        if not 0 <= clip.label < len(self._classes):
            raise RecordError(f"clip {clip.id} has label {clip.label}, and there are {len(self._classes)} classes")
        if problem := segment_problem(clip, self._classes):
            raise RecordError(f"clip {clip.id} {problem}")


def segment_problem(clip: Clip, classes: Sequence[str]) -> str | None:
    """Why a clip's segments cannot be right; None where they can. Without a class `mixed`, it may have none."""
    if not clip.segments:
        return "does not say who speaks when, which the class mixed is learned from" if MIXED in classes else None
    if len(clip.segments) != len(clip.utterance_ids):
        return f"has {len(clip.segments)} segments and {len(clip.utterance_ids)} utterances"
    duration_s = len(clip.pcm16) / clip.sample_rate_hz
    for _, start_s, end_s in clip.segments:
        if not 0 <= start_s <= end_s <= duration_s + SEGMENT_TOLERANCE_S:
            return f"has a segment from {start_s:g} to {end_s:g} s, and is {duration_s:g} s long"
    labels = {segment.label for segment in clip.segments}
    singles = {label for label, name in enumerate(classes) if name != MIXED}
    if not labels <= singles or (len(labels) < 2 if classes[clip.label] == MIXED else labels != {clip.label}):
        return f"has label {clip.label}, and its segments {', '.join(map(str, sorted(labels)))}"
    return None


def _add_counters(counters: list[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for counter in counters:
        total.update(counter)
    return dict(total)


def _check_counts(found: dict[str, int], dataset: str, info: DatasetInfo) -> None:
    said = {f"{split}/{name}": count for split, counts in info.counts.items() for name, count in counts.items() if count}
    for key in sorted(said.keys() | found.keys()):
        if said.get(key, 0) != found.get(key, 0):
            raise UserError(
                f"{dataset}: {found.get(key, 0)} clips of {key} where dataset_info.json says {said.get(key, 0)}; {AGAIN}"
            )
