# SPDX-License-Identifier: Apache-2.0
"""Looking into a dataset folder: figures, and a page that plays some of its clips."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import mean
from typing import Any

import numpy as np

from beam_jobs.clip_store import ClipsReference, stream_shard
from beam_jobs.config import SPLITS
from beam_jobs.dataset import CLIPS_FILE, DatasetInfo, ShardInfo, read_dataset_info
from beam_jobs.errors import UserError
from beam_jobs.examples import Clip, decode_clip
from beam_jobs.files import join, read_text, write_atomically
from beam_jobs.html_pages import mel_spectrogram, player_source, render_page
from beam_jobs.object_store import check_reachable
from beam_jobs.spreadsheet import read_rows

AGAIN = "generate the dataset again"


@dataclass(frozen=True, slots=True)
class SplitSummary:
    """Figures of one split; loudness in dB relative to full scale."""

    split: str
    clips: int
    labels: dict[str, int]
    modes: dict[str, int]
    speakers: int
    mean_rms_dbfs: float
    min_rms_dbfs: float
    max_rms_dbfs: float
    mean_speech_ratio: float
    num_bytes: int


def summarise(folder: str) -> list[SplitSummary]:
    """Reads the figures of each split from `clips.csv` and `dataset_info.json`; no audio is read.

    Raises:
        UserError: the folder is no dataset.
    """
    check_reachable(folder)
    info = read_dataset_info(folder)
    rows: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in _rows(folder):
        rows[row["split"]].append(row)
    return [_summary(split, rows[split], info) for split in SPLITS]


def _rows(folder: str) -> Iterator[dict[str, str]]:
    try:
        text = read_text(join(folder, CLIPS_FILE))
    except OSError:
        raise UserError(f"{folder}: {CLIPS_FILE} is not there; {AGAIN}") from None
    return read_rows(text)


def _summary(split: str, rows: list[dict[str, str]], info: DatasetInfo) -> SplitSummary:
    loudness = [float(row["rms_dbfs"]) for row in rows]
    return SplitSummary(
        split=split,
        clips=len(rows),
        labels=info.counts[split],
        modes=dict(Counter(row["mode"] for row in rows)),
        speakers=len({speaker for row in rows for speaker in row["speaker_ids"].split()}),
        mean_rms_dbfs=mean(loudness),
        min_rms_dbfs=min(loudness),
        max_rms_dbfs=max(loudness),
        mean_speech_ratio=mean(float(row["speech_ratio"]) for row in rows),
        num_bytes=sum(shard.num_bytes for shard in info.shards if shard.split == split),
    )


def write_page(folder: str, target: str, num_clips: int = 10, seed: int = 0) -> None:
    """Writes one self-contained HTML page with the figures and `num_clips` clips drawn at random, to hear and to see.

    Raises:
        UserError: the folder is no dataset, or a shard is damaged.
    """
    info = read_dataset_info(folder)
    drawn = random.Random(seed).sample(list(_rows(folder)), min(num_clips, sum(s.num_records for s in info.shards)))  # noqa: S311
    wanted: dict[str, set[str]] = defaultdict(set)
    for row in drawn:
        wanted[row["shard"]].add(row["id"])
    clips = {clip.id: clip for shard in info.shards for clip in _clips(folder, shard, wanted[shard.file])}
    if any(row["id"] not in clips for row in drawn):
        raise UserError(f"{join(folder, CLIPS_FILE)}: names clips that no shard holds; {AGAIN}")
    page = render_page(
        "clips.html",
        folder=folder,
        info=info,
        summaries=summarise(folder),
        clips=[_card(clips[row["id"]], row, info) for row in drawn],
    )
    write_atomically(target, page.encode())


def _clips(folder: str, shard: ShardInfo, ids: set[str]) -> Iterator[Clip]:
    if ids:
        records = stream_shard(ClipsReference(dataset_uri=folder, fingerprint="", shards=[]), shard, AGAIN)
        yield from (clip for clip in map(decode_clip, records) if clip.id in ids)


def _card(clip: Clip, row: dict[str, str], info: DatasetInfo) -> dict[str, Any]:
    samples = clip.pcm16.astype(np.float32) / np.float32(32768)
    return {
        "id": clip.id,
        "split": row["split"],
        "label": info.classes[clip.label],
        "mode": clip.mode,
        "speakers": ", ".join(dict.fromkeys(clip.speaker_ids)),
        "rms_dbfs": clip.rms_dbfs,
        "speech_ratio": clip.speech_ratio,
        "player": player_source(samples, clip.sample_rate_hz),
        "picture": mel_spectrogram(samples, clip.sample_rate_hz),
    }
