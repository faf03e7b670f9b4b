# SPDX-License-Identifier: Apache-2.0
"""The work of ClipExampleGen: read every byte of a dataset once, check it, and publish it."""

import hashlib
import io
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems
from tfx.dsl.components.base import base_beam_executor
from tfx.types import Artifact, artifact_utils

from beam_jobs.config import SPLITS
from beam_jobs.dataset import DatasetInfo, ShardInfo, fingerprint, read_dataset_info
from beam_jobs.errors import UserError, one_line_errors
from beam_jobs.examples import Clip, RecordError, decode_clip, read_records
from beam_jobs.files import absolute, cause, create, open_file
from beam_jobs.filesystems import set_filesystem_options
from beam_jobs.labels import MIXED
from beam_jobs.object_store import check_reachable
from beam_jobs.planning import rare_class
from components.clip_example_gen.artifact import DATASET_FINGERPRINT

AGAIN = "generate the dataset again: remove its folder, then give the same command"

SEGMENT_TOLERANCE_S = 1e-3
"""Single floats are this far apart at most, within the longest clip."""


class Executor(base_beam_executor.BaseBeamExecutor):
    """Executor of ClipExampleGen."""

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: dict[str, list[Artifact]], output_dict: dict[str, list[Artifact]], exec_properties: dict[str, Any]
    ) -> None:
        """Checks the dataset and copies its shards into the Examples artifact.

        Raises:
            UserError: the object store refuses, the folder is no dataset, or what lies in it is not what its description says.
        """
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        dataset = absolute(exec_properties["dataset_uri"])
        set_filesystem_options([str(argument) for argument in self._beam_pipeline_args])
        check_reachable(dataset)
        publish(dataset, examples.uri, exec_properties["min_class_share"], self._make_beam_pipeline())
        info = read_dataset_info(dataset)
        examples.split_names = artifact_utils.encode_split_names(list(SPLITS))
        examples.set_string_custom_property("dataset_uri", exec_properties["dataset_uri"])
        examples.set_string_custom_property(DATASET_FINGERPRINT, fingerprint(dataset))
        examples.set_string_custom_property("corpus_fingerprint", info.corpus_fingerprint)
        examples.set_string_custom_property("counts", json.dumps(info.counts))


def publish(dataset: str, target: str, min_class_share: float, pipeline: beam.Pipeline) -> None:
    """Checks the dataset folder `dataset` and copies its shards to `target`/Split-<split>/.

    Raises:
        UserError: as `Executor.Do`.
    """
    info = read_dataset_info(dataset)
    _check_speakers(dataset, info)
    _check_balance(dataset, info, min_class_share)
    with one_line_errors(), pipeline:
        _ = (
            pipeline
            | "Shards" >> beam.Create(info.shards, reshuffle=False)
            | "Spread" >> beam.Reshuffle()
            | "PublishShard" >> beam.ParDo(PublishShard(dataset, target, info))
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


class PublishShard(beam.DoFn):
    """Reads a shard once: hashes it, parses every record, and copies it."""

    def __init__(self, dataset: str, target: str, info: DatasetInfo) -> None:
        self._dataset = dataset
        self._target = target
        self._num_bytes = 2 * info.clips.num_samples
        self._sample_rate_hz = info.clips.sample_rate_hz
        self._classes = info.classes
        self._speakers = {split: frozenset(speakers) for split, speakers in info.speakers.items()}

    def process(self, shard: ShardInfo) -> Iterator[dict[str, int]]:
        """Yields the number of clips by `split/class`."""
        path = FileSystems.join(self._dataset, *shard.file.split("/"))
        try:
            with open_file(path) as file:
                content: bytes = file.read()
        except (OSError, BeamIOError) as error:
            raise UserError(f"{path}: named in dataset_info.json, and cannot be read ({cause(error)}); {AGAIN}") from None
        if len(content) != shard.num_bytes:
            raise UserError(f"{path}: {len(content)} bytes where dataset_info.json says {shard.num_bytes}; {AGAIN}")
        if hashlib.sha256(content).hexdigest() != shard.sha256:
            raise UserError(f"{path}: its checksum is not the one in dataset_info.json, the file was changed; {AGAIN}")
        try:
            counts = self._count(content, shard)
        except RecordError as error:
            raise UserError(f"{path}: {error}; {AGAIN}") from None
        name = path.replace("\\", "/").rsplit("/", 1)[-1]
        with create(FileSystems.join(self._target, f"Split-{shard.split}", name)) as copy:
            copy.write(content)
        yield counts

    def _count(self, content: bytes, shard: ShardInfo) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for record in read_records(io.BytesIO(content)):
            clip = decode_clip(record)
            strangers = set(clip.speaker_ids) - self._speakers.get(shard.split, frozenset())
            if strangers:
                raise RecordError(f"clip {clip.id} holds speaker {min(strangers)}, who is not of split {shard.split}")
            if clip.pcm16.nbytes != self._num_bytes or clip.sample_rate_hz != self._sample_rate_hz:
                raise RecordError(
                    f"clip {clip.id} has {len(clip.pcm16)} samples at {clip.sample_rate_hz} Hz, "
                    f"not {self._num_bytes // 2} at {self._sample_rate_hz}"
                )
            if not 0 <= clip.label < len(self._classes):
                raise RecordError(f"clip {clip.id} has label {clip.label}, and there are {len(self._classes)} classes")
            if problem := segment_problem(clip, self._classes):
                raise RecordError(f"clip {clip.id} {problem}")
            counts[f"{shard.split}/{self._classes[clip.label]}"] += 1
        if counts.total() != shard.num_records:
            raise RecordError(f"{counts.total()} records where dataset_info.json says {shard.num_records}")
        return dict(counts)


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
