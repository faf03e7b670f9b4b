# SPDX-License-Identifier: Apache-2.0
"""Describing a generated dataset: from the finished shards' manifests to its CSV files and `dataset_info.json`."""

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence

from beam_jobs.config import SPLITS, ClipsConfig
from beam_jobs.corpus.index import Speaker, SpeakerIndex
from beam_jobs.dataset import CLIPS_FILE, FORMAT_VERSION, INFO_FILE, REJECTED_FILE, DatasetInfo, ShardInfo
from beam_jobs.errors import UserError
from beam_jobs.files import create, move, read_text, remove, remove_folder, write_atomically
from beam_jobs.filesystems import FileSystems
from beam_jobs.make_shard import UNFINISHED, Shard
from beam_jobs.planning import counted
from beam_jobs.spreadsheet import csv_rows

CLIPS_COLUMNS = [
    "id", "split", "label", "mode", "shard", "speech_ratio", "rms_dbfs", "sample_rate_hz", "speaker_ids", "utterance_ids",
    "segments",
]  # fmt: skip


def describe_dataset(
    output: str,
    clips: ClipsConfig,
    index: SpeakerIndex,
    digest: str,
    num_duplicates: int,
    splits: Mapping[str, Sequence[Speaker]],
    shards: Sequence[Shard],
) -> DatasetInfo:
    """Writes `clips.csv` (in the order of the shards), `rejected.csv` and, last, `dataset_info.json`.

    `digest` is the corpus's, and `num_duplicates` says how many of its files hold what another one holds.

    Raises:
        UserError: more files of the corpus are unusable than the settings allow.
        OSError or BeamIOError: the output cannot be written.
    """
    unfinished = FileSystems.join(output, UNFINISHED)
    counts = {split: dict.fromkeys(clips.classes, 0) for split in SPLITS}
    rejected = {item.path: item.reason for item in index.rejected}
    infos: list[ShardInfo] = []
    redraws = 0
    temporary = FileSystems.join(unfinished, f"{CLIPS_FILE}.{uuid.uuid4().hex}.tmp")
    try:
        # Manifest by manifest: a million clips must not need more memory than a hundred.
        with create(temporary) as file:
            file.write(csv_rows(CLIPS_COLUMNS, header=True))
            for shard in shards:
                manifest = json.loads(read_text(shard.manifest))
                infos.append(ShardInfo(**manifest["shard"]))
                redraws += manifest["redraws"]
                rejected |= {item["path"]: item["reason"] for item in manifest["rejected"]}
                for row in manifest["rows"]:
                    counts[row["split"]][row["label"]] += 1
                file.write(csv_rows(CLIPS_COLUMNS, manifest["rows"]))
        check_rejected(len(rejected), "such as " + ": ".join(min(rejected.items(), default=())), clips, index)
        rows = csv_rows(["path", "speaker", "reason"], _left_out_rows(index, rejected), header=True)
        write_atomically(FileSystems.join(output, REJECTED_FILE), rows, unfinished)
        move(temporary, FileSystems.join(output, CLIPS_FILE))
    except BaseException:
        remove(temporary)
        raise
    info = DatasetInfo(
        format_version=FORMAT_VERSION,
        clips=clips,
        classes=list(clips.classes),
        corpus_fingerprint=digest,
        corpus_subsets=sorted({speaker.subset for speaker in index.speakers}),
        speakers={split: list(dict.fromkeys(speaker.id for speaker in speakers)) for split, speakers in splits.items()},
        counts=counts,
        redraws=redraws,
        rejected=len(rejected),
        other_labels=dict(index.other_labels),
        unlabelled=list(index.unlabelled),
        unlisted=list(index.unlisted),
        passed_over=len(index.passed_over),
        duplicates=num_duplicates,
        shards=infos,
    )
    write_atomically(FileSystems.join(output, INFO_FILE), info.model_dump_json(indent=1).encode(), unfinished)
    remove_folder(unfinished)
    return info


def _left_out_rows(index: SpeakerIndex, rejected: Mapping[str, str]) -> Iterator[dict[str, str]]:
    yield from ({"path": path, "reason": rejected[path]} for path in sorted(rejected))
    for label, number in index.other_labels.items():
        yield {"reason": f"label {label} is not in clips.labels ({counted(number, 'speaker')})"}
    yield from ({"speaker": speaker, "reason": "no usable label"} for speaker in index.unlabelled)
    yield from ({"path": folder, "reason": "a speaker who is not in the corpus's list"} for folder in index.unlisted)
    yield from ({"path": item.path, "reason": item.reason} for item in index.passed_over)


def check_rejected(number: int, which: str, clips: ClipsConfig, index: SpeakerIndex) -> None:
    """Checks the share of the corpus's files that are unusable; `which` says in words which are.

    Raises:
        UserError: it is above `max_rejected_share`.
    """
    num_files = len(index.rejected) + sum(1 for _ in index.utterances())
    if number > clips.max_rejected_share * num_files:
        raise UserError(
            f"{index.root}: {number} of {num_files} files are unusable ({which}), more than clips.max_rejected_share "
            f"{clips.max_rejected_share:g} allows; fix the corpus or raise the share"
        )
