# SPDX-License-Identifier: Apache-2.0
"""The whole configuration of a run, from one YAML file."""

import itertools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from beam_jobs import yaml_text
from beam_jobs.clip_store.scratch import DEFAULT_SCRATCH_GB
from beam_jobs.config import SPLITS, ClipsConfig, Share, Strict, override, read_yaml, validate
from beam_jobs.corpus.listing import Labelling
from beam_jobs.errors import UserError
from beam_jobs.planning import count_classes, rare_class
from beam_jobs.secret_names import holds_secret
from components.gate.config import GateConfig
from components.pusher.config import PushConfig
from components.robustness.config import RobustnessConfig
from components.run_config import config_digest
from components.serving_check.config import ServingCheckConfig
from components.trainer.config import ModelConfig, ServingConfig, TrainConfig, training_problem
from components.tuner.search_space import TuneConfig
from components.watch.config import WatchConfig
from pipeline.kubeflow.config import KubernetesConfig

CONFIGS = Path(__file__).parent / "configs"
IN_MEMORY = ["--runner=DirectRunner", "--direct_running_mode=in_memory"]


class SynthConfig(Strict):
    """The corpus that espeak-ng speaks if no other is given."""

    num_speakers: Annotated[int, Field(ge=40, le=10_000)] = 40
    """Speakers, half of them female."""
    utterances_per_speaker: Annotated[int, Field(ge=1, le=1000)] = 4
    """Utterances of each speaker."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of voices and sentences."""


class CorpusConfig(Strict):
    """Which part of a corpus is used, and what replaces it if `--corpus` is not given."""

    subsets: Annotated[list[str], Field(min_length=1)] | None = None
    """Subset folders to use, such as `[train-clean-100]`; null: all of them."""
    label_column: str | None = None
    """Column of `utterances.csv` or of Common Voice's list that holds the labels, such as `accents`; null: the column `label`,
    or Common Voice's annotated gender."""
    label_per_recording: bool = False
    """Recordings of one speaker may have different labels, such as a mood or a word; otherwise that is an error in the list."""
    speaker_pattern: str | None = None
    """In a corpus with one folder per label: a regular expression whose group `speaker` finds the speaker in the path."""
    feedback: str | None = None
    """A list of recordings that users labelled, `path,label,who`, which join the corpus ([feedback](../corpora.md#feedback))."""
    synth: SynthConfig | None = None
    """A corpus spoken by espeak-ng, used where `--corpus` is not given, such as `{num_speakers: 60, utterances_per_speaker: 4}`.
    """

    @property
    def labelling(self) -> Labelling:
        """Where a corpus's labels are."""
        return Labelling(self.label_column, self.label_per_recording, self.speaker_pattern, self.feedback)


class DataConfig(Strict):
    """What a dataset must be to be trained on."""

    min_class_share: Share = 0.2
    """Smallest share of a split's clips that each class must have."""
    scratch_gb: Annotated[float, Field(gt=0)] = DEFAULT_SCRATCH_GB
    """Disk that a training may use for shards of a dataset in an object store, in each of its workers: what fits is fetched once
    for all epochs, otherwise each epoch fetches what is missing. It must hold ten shards. Local datasets are read in place."""


class BeamConfig(Strict):
    """Beam's own options, for the job that makes clips and for TFX's Beam steps."""

    clips: list[str] = IN_MEMORY
    """Options of the job that makes clips, such as `["--runner=DirectRunner", "--direct_running_mode=multi_processing",
    "--direct_num_workers=2"]`."""
    pipeline: list[str] = IN_MEMORY
    """Options of TFX's Beam steps; a cluster's are the same as those of the clip job ([scaling](../scaling.md))."""

    @model_validator(mode="after")
    def _options(self) -> Self:
        for key, options in (("clips", self.clips), ("pipeline", self.pipeline)):
            for before, option in itertools.pairwise(["", *options]):
                is_value = before.startswith("--") and "=" not in before
                if option == "--help" or not (re.match("--[a-z]", option) or is_value):
                    raise ValueError(f"{key} holds {option!r}: expected Beam options such as '--direct_num_workers=2'")
                name, _, value = option.partition("=")
                if holds_secret(name, value):
                    raise ValueError(
                        f"{key} holds {name}: a configuration is stored with each run and shown on its report; "
                        "pass credentials in the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or a profile"
                    )
        return self


class PipelineConfig(Strict):
    """A run."""

    corpus: CorpusConfig = CorpusConfig()
    clips: ClipsConfig
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    tune: TuneConfig | None = None
    gate: GateConfig = GateConfig()
    robustness: RobustnessConfig | None = None
    serving: ServingConfig = ServingConfig()
    serving_check: ServingCheckConfig = ServingCheckConfig()
    push: PushConfig = PushConfig()
    watch: WatchConfig = WatchConfig()
    beam: BeamConfig = BeamConfig()
    kubernetes: KubernetesConfig = KubernetesConfig()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        clips = self.clips
        if problem := training_problem(self.model, self.train, clips.num_samples, clips.sample_rate_hz):
            raise ValueError(problem)
        for split in SPLITS:
            counts = count_classes(clips, split)
            if name := rare_class(counts, self.data.min_class_share):
                total = getattr(clips.num_clips, split)
                raise ValueError(
                    f"{counts[name]} of the {total} clips of split {split} would be {name}, less than data.min_class_share "
                    f"{self.data.min_class_share:g}; raise clips.num_clips.{split} or lower the share"
                )
        if self.train.strategy == "multi_worker" and min(clips.num_clips.train, clips.num_clips.eval) < self.train.num_workers:
            raise ValueError(
                f"train.num_workers {self.train.num_workers} is more than the number of clips in split train or eval"
            )
        if self.tune is not None:
            sections = {"model": self.model.model_dump(), "train": self.train.model_dump()}
            self.tune.check(sections, clips.num_samples, clips.sample_rate_hz)
        for name, thresholds in self.gate.robustness.items():
            if self.robustness is None:
                raise ValueError(f"gate.robustness has thresholds on {name}, but there is no section robustness to measure it")
            if name not in self.robustness.degradations:
                raise ValueError(f"gate.robustness has thresholds on {name}, which is not among robustness.degradations")
            if thresholds.max_strength < min(self.robustness.strengths):
                raise ValueError(
                    f"gate.robustness.{name}.max_strength {thresholds.max_strength} is below all robustness.strengths"
                )
        return self

    def to_yaml(self) -> str:
        """The resolved configuration, every default written out."""
        return yaml_text.dump(self.model_dump(mode="json"))

    def digest(self) -> str:
        """SHA-256 of the resolved configuration."""
        return config_digest(self.model_dump(mode="json"))


def load_config(path: str | Path, settings: Iterable[str] = ()) -> PipelineConfig:
    """Reads and validates a configuration, with `key.path=value` overrides.

    Args:
        path: a file, or the name of a configuration that comes with this package, such as `demo`.
        settings: the overrides.

    Raises:
        UserError: one line that names the key, the value and what is allowed.

    >>> config = load_config("demo", ["train.epochs=5"])
    >>> config.train.epochs, config.clips.sample_rate_hz
    (5, 16000)
    """
    path = _file_of(path)
    return validate(PipelineConfig, override(read_yaml(path), settings), path)


def _file_of(path: str | Path) -> str | Path:
    packaged = {file.stem: file for file in sorted(CONFIGS.glob("*.yaml"), key=lambda file: file.stem)}
    if Path(path).exists() or len(Path(path).parts) > 1:
        return path
    if str(path) in packaged:
        return packaged[str(path)]
    raise UserError(
        f"{path}: no such file; name a configuration file, or the name of one that comes with the package: {', '.join(packaged)}"
    )
