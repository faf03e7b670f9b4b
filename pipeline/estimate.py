# SPDX-License-Identifier: Apache-2.0
"""What a run will take, reckoned before it begins: bytes from the layout of its files, minutes from what was measured."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from beam_jobs.config import ClipsConfig
from beam_jobs.dataset import INFO_FILE
from beam_jobs.errors import UserError
from beam_jobs.folders import files_below
from components.trainer.config import ModelConfig
from pipeline.config import PipelineConfig

RECORD_BYTES = 1100
"""Of a clip besides its samples: the other features, the framing, its entry in the index and its line in clips.csv."""
METADATA_BYTES = 600
"""Of a clip among TFX's examples, which hold no audio."""
OTHER_BYTES = 10_000_000
"""Statistics, graphs, metadata store, reports and logs: 7 MB of the demo made small, whose network is next to nothing."""
MODEL_COPIES = 10
"""Of the weights: exported and pushed, checkpoints with AdamW's moments, and while one is replaced by the next."""
SYNTH_BYTES = 140_000
"""Of a spoken utterance as FLAC."""

MEASURED_ON = "2 shared virtual AMD EPYC cores (benchmarks/README.md)"
CLIP_S_PER_SAMPLE = 0.0136 / 1_323_000
"""docs/scaling.md: a clip of 60 s at 22,050 Hz."""
TRAIN_S_PER_CELL = 0.096 / 70 / (99 * 64)
"""A step takes 96 ms for 70 crops of 99 STFT frames and 64 mel bands, with the default network."""
FORWARD_SHARE = 1 / 3
"""Of a training step, for a clip that is only listened to; not measured, but usual."""
FIXED_S = 180
"""Loading libraries, and the nodes that hardly depend on the clips: nearly all of the demo's four minutes."""
SCORED_TIMES = 4
"""The test clips: by the candidate, by the model in serving, and by the serving check."""
VOICE_S_PER_SAMPLE = 0.225 / 96_000
"""Of a training clip whose voice is changed: one voice, 6 s at 16,000 Hz."""
DEGRADE_S_PER_SAMPLE = 1.9 / 30 / 96_000
"""All ten degradations at three strengths of a clip of 6 s at 16,000 Hz take 1.9 s."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes that a run adds to the work folder, and seconds that it takes on the machine that the figures come from."""

    clips: int
    cache: int
    other: int
    seconds: float

    @property
    def total_bytes(self) -> int:
        """All of them together."""
        return self.clips + self.cache + self.other


def estimate(config: PipelineConfig, dataset_is_there: bool = False) -> Estimate:
    """What a first run of `config` takes; less where a repetition finds results in the cache."""
    counts = config.clips.num_clips
    train = counts.train * (2 * config.clips.num_samples + RECORD_BYTES)
    return Estimate(
        clips=0 if dataset_is_there else dataset_bytes(config.clips),
        cache=train if config.train.cache == "file" else 0,
        other=OTHER_BYTES + METADATA_BYTES * _total(config.clips) + MODEL_COPIES * _weights(config.model) * 4,
        seconds=FIXED_S + (0 if dataset_is_there else _mixing_s(config.clips)) + _training_s(config) + _degrading_s(config),
    )


def dataset_bytes(clips: ClipsConfig) -> int:
    """Of a dataset folder."""
    return _total(clips) * (2 * clips.num_samples + RECORD_BYTES)


def free_bytes(folder: Path) -> int:
    """On the file system on which `folder` is, or will be made."""
    return shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free


def check_space(config: PipelineConfig, dataset: Path) -> None:
    """Looks for room for the clips that are not made yet.

    Raises:
        UserError: there is less free than they take; the rest of a run is small beside them.
    """
    shards = [dataset / name for name in files_below(dataset) if name.endswith(".tfrecord")] if dataset.exists() else []
    made = sum(shard.stat().st_size for shard in shards)
    if not (dataset / INFO_FILE).exists():
        refuse_if_short(dataset_bytes(config.clips) - made, dataset)


def refuse_if_short(needed: int, folder: Path) -> None:
    """Compares what is needed with what is free.

    Raises:
        UserError: too little is free.
    """
    free = free_bytes(folder)
    if needed > free:
        raise UserError(
            f"{folder}: {format_bytes(needed)} are needed and {format_bytes(free)} are free; free some, give another --workdir, "
            "or fewer or shorter clips (clips.num_clips, clips.duration_s)"
        )


def format_bytes(number: float) -> str:
    """Bytes as people read them: `2.6 GB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"


def _total(clips: ClipsConfig) -> int:
    return clips.num_clips.train + clips.num_clips.eval + clips.num_clips.test


def _weights(model: ModelConfig) -> int:
    first, second, third, fourth = model.filters
    blocks = 9 * (2 * first + first * second + second * third) + 27 * third * fourth
    return blocks + model.embedding * (fourth * -(-model.n_mels // 8) + 3 * model.embedding)


def _mixing_s(clips: ClipsConfig) -> float:
    changed = clips.num_clips.train * clips.train_voice.share if clips.train_voice else 0
    return (_total(clips) * CLIP_S_PER_SAMPLE + changed * VOICE_S_PER_SAMPLE) * clips.num_samples


def _degrading_s(config: PipelineConfig) -> float:
    if config.robustness is None:
        return 0
    clips = min(config.robustness.num_clips, config.clips.num_clips.test)
    conditions = 1 + len(config.robustness.degradations) * len(config.robustness.strengths)
    # The candidate is asked, and the model in serving.
    return clips * conditions * config.clips.num_samples * (DEGRADE_S_PER_SAMPLE + 2 * FORWARD_SHARE * _cell_s(config.model))


def _cell_s(model: ModelConfig) -> float:
    """Of a training step, for a sample."""
    return TRAIN_S_PER_CELL * model.n_mels / model.hop_length


def _training_s(config: PipelineConfig) -> float:
    clips, train = config.clips, config.train
    cell_s = _cell_s(config.model)
    epoch_s = cell_s * (
        clips.num_clips.train * train.crop_s * clips.sample_rate_hz + FORWARD_SHARE * clips.num_clips.eval * clips.num_samples
    )
    epochs = train.epochs + (config.tune.trials * config.tune.epochs if config.tune else 0)
    return epochs * epoch_s + SCORED_TIMES * FORWARD_SHARE * cell_s * clips.num_clips.test * clips.num_samples
