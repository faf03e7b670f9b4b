# SPDX-License-Identifier: Apache-2.0
"""The draws that every variant renders: one configuration, one corpus, the plans of `ClipPlanner`."""

from pathlib import Path

from beam_jobs.config import SPLITS, ClipsConfig, NumClips
from beam_jobs.corpus.index import SpeakerIndex
from beam_jobs.make_shard import split_for
from beam_jobs.planning import ClipPlan, ClipPlanner

FIRST = len(SPLITS)
"""The smallest job: one clip of each split."""


def settings(num_clips: int, sample_rate_hz: int) -> ClipsConfig:
    """60 s clips, all but two of them in `train` (every split needs one)."""
    counts = NumClips(train=num_clips - 2, eval=1, test=1)
    return ClipsConfig(duration_s=60.0, sample_rate_hz=sample_rate_hz, num_clips=counts, clips_per_shard=25)


def plans(clips: ClipsConfig, index: SpeakerIndex) -> list[ClipPlan]:
    """The plans of all clips that the job of these settings makes, each split's clip 0 first: the smallest job's clips."""
    planners = {split: ClipPlanner(clips, split, speakers) for split, speakers in split_for(index, clips).items()}
    number = max(getattr(clips.num_clips, split) for split in SPLITS)
    return [planners[split].plan(k) for k in range(number) for split in SPLITS if k < getattr(clips.num_clips, split)]


def speech_s(clip_plans: list[ClipPlan]) -> float:
    """Seconds of speech that a clip decodes, on average: what clips cost differs by it."""
    parts = [part for plan in clip_plans for part in plan.placements]
    return sum(part.num_samples / part.utterance.sample_rate_hz for part in parts) / len(clip_plans)


def as_cuts(clip_plans: list[ClipPlan], root: str, sample_rate_hz: int) -> list[list[dict[str, object]]]:
    """The plans as plain data, for an interpreter that has nothing of this project. `start_s` counts from the clip's start."""
    return [
        [
            {
                "path": str(Path(root) / part.utterance.path),
                "rate_hz": part.utterance.sample_rate_hz,
                "file_samples": part.utterance.num_samples,
                "offset": part.offset,
                "num_samples": part.num_samples,
                "start_s": part.start / sample_rate_hz,
                "gain_db": part.gain_db,
            }
            for part in plan.placements
        ]
        for plan in clip_plans
    ]
