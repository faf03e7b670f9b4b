# SPDX-License-Identifier: Apache-2.0
"""Making one shard: a worker's whole job."""

import hashlib
import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from beam_jobs.config import SPLITS, ClipsConfig
from beam_jobs.corpus.index import Speaker, SpeakerIndex
from beam_jobs.corpus.splits import split_speakers
from beam_jobs.dataset import INFO_FILE, ShardInfo, shard_name
from beam_jobs.errors import UserError
from beam_jobs.examples import Clip, encode_index_entry, encode_parts, frame_record
from beam_jobs.files import cause, create, fsync, join, move, read_text, remove, storage_errors, write_atomically
from beam_jobs.filesystems import FileSystems
from beam_jobs.planning import ClipPlan, ClipPlanner
from beam_jobs.rendering import UnusableUtteranceError, render
from beam_jobs.writers import StoppedError, writing

UNFINISHED = "_unfinished"
"""Folder inside the output that holds the plan and the finished shards' manifests until the dataset is whole."""
PLAN_FILE = "plan.json"


@dataclass(frozen=True, slots=True)
class Shard:
    """One element of the job: the `index`-th of `of` stretches of a split's clips. `job` is the SHA-256 of the job's plan."""

    output: str
    job: str
    split: str
    index: int
    of: int

    def clips(self, of_split: int) -> range:
        """The numbers of its clips, where the split has `of_split`."""
        return range(of_split * self.index // self.of, of_split * (self.index + 1) // self.of)

    @property
    def file(self) -> str:
        """The finished file, relative to the output."""
        return shard_name(self.split, self.index, self.of)

    @property
    def target(self) -> str:
        """The finished file's path."""
        return FileSystems.join(self.output, *self.file.split("/"))

    @property
    def manifest(self) -> str:
        """The path of the manifest, which says what the finished shard holds."""
        return FileSystems.join(self.output, UNFINISHED, f"{self.split}-{self.index:05d}-of-{self.of:05d}.json")


def split_for(index: SpeakerIndex, clips: ClipsConfig) -> dict[str, tuple[Speaker, ...]]:
    """The speakers of each split, by the job's settings."""
    shares = clips.split_shares
    return split_speakers(index.speakers, clips.seed, (shares.train, shares.eval, shares.test), clips.labels)


@lru_cache(maxsize=4)
def load_job(output: str, job: str) -> tuple[ClipsConfig, str, dict[str, ClipPlanner], dict[str, int]]:
    """What every shard of a job shares, read once in each worker process.

    A worker may outlive a job and meet another one in the same folder: `job` tells them apart.
    """
    plan = json.loads(read_text(FileSystems.join(output, UNFINISHED, PLAN_FILE)))
    clips = ClipsConfig.model_validate(plan["clips"])
    index = SpeakerIndex.from_json(json.dumps(plan["index"]), output)
    planners = {split: ClipPlanner(clips, split, speakers) for split, speakers in split_for(index, clips).items()}
    counts = {split: getattr(clips.num_clips, split) for split in SPLITS}
    return clips, index.root, planners, counts


class MakeShard(beam.DoFn):
    """Makes one shard and the manifest that describes it; a shard that is already there is left as it is."""

    def process(self, shard: Shard) -> Iterator[str]:
        """Yields the finished shard's file name."""
        if FileSystems.exists(shard.manifest) and FileSystems.exists(shard.target):
            Metrics.counter("clips", "shards_reused").inc()
        # A runner may give an attempt up while its worker goes on, until after another one has made the dataset whole.
        elif not FileSystems.exists(FileSystems.join(shard.output, INFO_FILE)):
            try:
                # Nobody waits for a stopped job's shard; of an error Beam would print a traceback.
                with suppress(StoppedError), writing() as check:
                    self._make(shard, check)
            except storage_errors() as error:
                raise UserError(
                    f"{shard.output}: cannot be written ({cause(error)}); free some space or choose another folder"
                ) from None
        yield shard.file

    def _make(self, shard: Shard, check: Callable[[], None]) -> None:
        clips, root, planners, counts = load_job(shard.output, shard.job)
        temporary = FileSystems.join(shard.output, UNFINISHED, f"{shard.split}-{shard.index:05d}.{uuid.uuid4().hex}.tmp")
        digest, num_bytes, index = hashlib.sha256(), 0, b""
        rows: list[dict[str, Any]] = []
        unusable: dict[str, UnusableUtteranceError] = {}
        redraws = 0
        try:
            with create(temporary) as file:
                for k in shard.clips(counts[shard.split]):
                    check()
                    plan, clip = _make_clip(planners[shard.split], k, root, clips, unusable)
                    start = num_bytes
                    for part in frame_record(*encode_parts(clip)):
                        file.write(part)
                        digest.update(part)
                        num_bytes += len(part)
                    index += b"".join(frame_record(encode_index_entry(clip, start, num_bytes - start)))
                    rows.append(_row(clip, shard, clips.classes))
                    redraws += plan.draws - 1
                fsync(file)
            info = ShardInfo(
                split=shard.split,
                file=shard.file,
                num_records=len(rows),
                num_bytes=num_bytes,
                sha256=digest.hexdigest(),
                index_bytes=len(index),
                index_sha256=hashlib.sha256(index).hexdigest(),
            )
            rejected = [{"path": error.path, "reason": error.reason} for error in unusable.values()]
            manifest = {"shard": info.model_dump(), "rows": rows, "redraws": redraws, "rejected": rejected}
            write_atomically(join(shard.output, *info.index_file.split("/")), index, join(shard.output, UNFINISHED))
            # The manifest first: a shard under its final name is finished and never made again.
            write_atomically(shard.manifest, json.dumps(manifest).encode())
            move(temporary, shard.target)
        except BaseException:
            remove(temporary)
            raise
        Metrics.counter("clips", "made").inc(len(rows))
        Metrics.counter("clips", "redrawn").inc(redraws)
        Metrics.counter("clips", "utterances_rejected").inc(len(rejected))


def _make_clip(
    planner: ClipPlanner, k: int, root: str, clips: ClipsConfig, unusable: dict[str, UnusableUtteranceError]
) -> tuple[ClipPlan, Clip]:
    # What this clip finds unusable is found anew for every clip that draws it, so that a clip depends on nothing but its
    # number; what others found is only remembered for the list.
    found: set[str] = set()
    example = ""
    while True:
        try:
            plan = planner.plan(k, found)
        except UserError:
            if not found:
                raise
            # Fewer seconds of speech asked for would help nobody here.
            raise UserError(
                f"{root}: a clip cannot be filled: {len(found)} of the utterances drawn for it are unusable "
                f"(for example {example}); fix these files or remove them from the corpus"
            ) from None
        try:
            return plan, render(plan, root, clips.num_samples, clips.sample_rate_hz, clips.mixed_balance_db)
        except UnusableUtteranceError as error:
            found.add(error.utterance_id)
            example = str(error)
            if error.whole:
                unusable[error.utterance_id] = error


def _row(clip: Clip, shard: Shard, classes: Sequence[str]) -> dict[str, Any]:
    row = {field.name: getattr(clip, field.name) for field in fields(clip) if field.name not in ("pcm16", "speech_mask")}
    return {
        **row,
        "split": shard.split,
        "shard": shard.file,
        "label": classes[clip.label],
        "speaker_ids": " ".join(clip.speaker_ids),
        "utterance_ids": " ".join(clip.utterance_ids),
        "segments": " ".join(f"{classes[label]} {start_s:.2f}-{end_s:.2f}" for label, start_s, end_s in clip.segments),
        "rms_dbfs": round(clip.rms_dbfs, 2),
        "speech_ratio": round(clip.speech_ratio, 4),
    }
