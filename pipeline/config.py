"""The whole configuration of a run, from one YAML file."""

import hashlib
import itertools
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from beam_jobs import yaml_text
from beam_jobs.config import SPLITS, ClipsConfig, Share, Strict, override, read_yaml, validate
from beam_jobs.corpus.listing import Labelling
from beam_jobs.errors import UserError
from beam_jobs.planning import count_classes, rare_class
from beam_jobs.secret_names import holds_secret
from components.gate.config import GateConfig
from components.pusher.config import PushConfig
from components.robustness.config import RobustnessConfig
from components.serving_check.config import ServingCheckConfig
from components.trainer.config import ModelConfig, ServingConfig, TrainConfig, training_problem
from components.tuner.search_space import TuneConfig
from components.watch.config import WatchConfig
from pipeline.kubeflow.config import KubernetesConfig

CONFIGS = Path(__file__).parent / "configs"
IN_MEMORY = ["--runner=DirectRunner", "--direct_running_mode=in_memory"]


class SynthConfig(Strict):
    """The corpus that espeak-ng speaks where no other is given."""

    num_speakers: Annotated[int, Field(ge=40, le=10_000)] = 40
    utterances_per_speaker: Annotated[int, Field(ge=1, le=1000)] = 4
    seed: Annotated[int, Field(ge=0)] = 0


class CorpusConfig(Strict):
    """Which part of a corpus is used, and what stands in where `--corpus` names none."""

    subsets: Annotated[list[str], Field(min_length=1)] | None = None
    label_column: str | None = None
    """Column of utterances.csv or of Common Voice's list that holds the labels, such as `accents`; null: the layout's own."""
    label_per_recording: bool = False
    """Recordings of one speaker may have different labels, as a mood or a word; else that is a mistake in the list."""
    speaker_pattern: str | None = None
    """In a corpus with a folder for each label: a regular expression whose group `speaker` says who speaks, by the path."""
    synth: SynthConfig | None = None
    """Such as `{num_speakers: 60, utterances_per_speaker: 4}`: spoken by espeak-ng where no corpus is named."""

    @property
    def labelling(self) -> Labelling:
        """Where a corpus's labels are."""
        return Labelling(self.label_column, self.label_per_recording, self.speaker_pattern)


class DataConfig(Strict):
    """What a dataset must be to be trained on."""

    min_class_share: Share = 0.2


class BeamConfig(Strict):
    """Beam's own options, for the job that makes clips and for TFX's components."""

    clips: list[str] = IN_MEMORY
    pipeline: list[str] = IN_MEMORY

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
                        "give credentials by the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or a profile"
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
            raise ValueError(f"train.num_workers {self.train.num_workers} is more than the clips of split train or eval")
        if self.tune is not None:
            sections = {"model": self.model.model_dump(), "train": self.train.model_dump()}
            self.tune.check(sections, clips.num_samples, clips.sample_rate_hz)
        for name, thresholds in self.gate.robustness.items():
            if self.robustness is None:
                raise ValueError(f"gate.robustness has thresholds on {name}, and no section robustness says to measure it")
            if name not in self.robustness.degradations:
                raise ValueError(f"gate.robustness has thresholds on {name}, which is not among robustness.degradations")
            if thresholds.max_strength < min(self.robustness.strengths):
                raise ValueError(
                    f"gate.robustness.{name}.max_strength {thresholds.max_strength} is below all of robustness.strengths"
                )
        return self

    def to_yaml(self) -> str:
        """The resolved configuration, every default written out."""
        return yaml_text.dump(self.model_dump(mode="json"))

    def digest(self) -> str:
        """SHA-256 of the resolved configuration."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def load_config(path: str | Path, settings: Iterable[str] = ()) -> PipelineConfig:
    """Reads and validates a configuration, with `key.path=value` overrides.

    Args:
        path: a file, or the name of a configuration that comes with this package, such as `demo`.
        settings: the overrides.

    Raises:
        UserError: one line that names the key, the value and what is allowed.
    """
    path = _file_of(path)
    return validate(PipelineConfig, override(read_yaml(path), settings), path)


def _file_of(path: str | Path) -> str | Path:
    packaged = {file.stem: file for file in sorted(CONFIGS.glob("*.yaml"), key=lambda file: file.stem)}
    if Path(path).exists() or len(Path(path).parts) > 1:
        return path
    if str(path) in packaged:
        return packaged[str(path)]
    raise UserError(f"{path}: no such file; give a configuration file, or one of those that come along: {', '.join(packaged)}")
