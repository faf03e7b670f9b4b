# SPDX-License-Identifier: Apache-2.0
"""Datasets whose clips a test has made itself, as the clip job would have written them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from beam_jobs.clip_store import ClipsReference
from beam_jobs.dataset import FORMAT_VERSION, INFO_FILE, shard_name
from beam_jobs.examples import Clip, encode_clip, encode_index_entry, frame_record


def framed(clips: Sequence[Clip]) -> tuple[bytes, bytes]:
    """The bytes of a shard and of its index."""
    shard, index = b"", b""
    for clip in clips:
        record = b"".join(frame_record(encode_clip(clip)))
        index += b"".join(frame_record(encode_index_entry(clip, len(shard), len(record))))
        shard += record
    return shard, index


def contents(shard: bytes, index: bytes) -> dict[str, int | str]:
    """What a dataset's description says of the two."""
    return {
        "num_bytes": len(shard),
        "sha256": hashlib.sha256(shard).hexdigest(),
        "index_bytes": len(index),
        "index_sha256": hashlib.sha256(index).hexdigest(),
    }


def write_dataset(
    folder: Path, splits: Mapping[str, Sequence[Sequence[Clip]]], classes: Sequence[str] = ("male", "female")
) -> Path:
    """Makes a dataset folder of clips, given by split and shard."""
    shards = []
    for split, parts in splits.items():
        (folder / split).mkdir(parents=True)
        for number, clips in enumerate(parts):
            file = shard_name(split, number, len(parts))
            shard, index = framed(clips)
            (folder / file).write_bytes(shard)
            (folder / file).with_suffix(".index").write_bytes(index)
            shards.append({"split": split, "file": file, "num_records": len(clips), **contents(shard, index)})
    of_split = {split: [clip for clips in parts for clip in clips] for split, parts in splits.items()}
    first = next(clip for clips in of_split.values() for clip in clips)
    counts = {split: max(1, len(of_split.get(split, ()))) for split in ("train", "eval", "test")}
    rate_hz, duration_s = first.sample_rate_hz, len(first.pcm16) / first.sample_rate_hz
    info = {
        "format_version": FORMAT_VERSION,
        "clips": {
            "num_clips": counts, "sample_rate_hz": rate_hz, "duration_s": duration_s, "min_speech_s": min(1, duration_s / 2),
        },
        "classes": list(classes),
        "corpus_fingerprint": "0" * 64,
        "speakers": {split: sorted({name for clip in clips for name in clip.speaker_ids}) for split, clips in of_split.items()},
        "counts": {
            split: {name: sum(clip.label == label for clip in clips) for label, name in enumerate(classes)}
            for split, clips in of_split.items()
        },
        "redraws": 0,
        "rejected": 0,
        "duplicates": 0,
        "shards": shards,
    }  # fmt: skip
    (folder / INFO_FILE).write_text(json.dumps(info))
    return folder


def reference_to(dataset: Path | str) -> ClipsReference:
    """What ClipExampleGen would publish of a dataset folder."""
    return ClipsReference.of_dataset(str(dataset))
