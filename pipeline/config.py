"""The whole configuration of a run, from one YAML file."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from beam_jobs import yaml_text
from beam_jobs.config import ClipsConfig, Share, Strict, override, read_yaml, validate
from components.evaluator.config import GateConfig
from components.pusher.config import PushConfig
from components.serving_check.config import ServingCheckConfig
from components.trainer.config import ModelConfig, TrainConfig, training_problem
from components.trainer.tuning import TuneConfig
from pipeline.kubeflow.config import KubernetesConfig

CONFIGS = Path(__file__).parent / "configs"
IN_MEMORY = ["--runner=DirectRunner", "--direct_running_mode=in_memory"]


class SynthConfig(Strict):
    """The corpus that espeak-ng speaks where no other is given."""

    num_speakers: Annotated[int, Field(ge=40)] = 40
    utterances_per_speaker: Annotated[int, Field(ge=1)] = 4
    seed: Annotated[int, Field(ge=0)] = 0


class CorpusConfig(Strict):
    """Which part of a corpus is used, and what stands in where `--corpus` names none."""

    subsets: list[str] | None = None
    synth: SynthConfig | None = None


class DataConfig(Strict):
    """What a dataset must be to be trained on."""

    min_class_share: Share = 0.2


class BeamConfig(Strict):
    """Beam's own options, for the job that makes clips and for TFX's components."""

    clips: list[str] = IN_MEMORY
    pipeline: list[str] = IN_MEMORY


class PipelineConfig(Strict):
    """A run."""

    corpus: CorpusConfig = CorpusConfig()
    clips: ClipsConfig
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    tune: TuneConfig | None = None
    gate: GateConfig = GateConfig()
    serving_check: ServingCheckConfig = ServingCheckConfig()
    push: PushConfig = PushConfig()
    beam: BeamConfig = BeamConfig()
    kubernetes: KubernetesConfig = KubernetesConfig()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        clips = self.clips
        if problem := training_problem(self.model, self.train, clips.num_samples, clips.sample_rate_hz):
            raise ValueError(problem)
        if self.tune is not None:
            sections = {"model": self.model.model_dump(), "train": self.train.model_dump()}
            self.tune.check(sections, clips.num_samples, clips.sample_rate_hz)
        return self

    def to_yaml(self) -> str:
        """The resolved configuration, every default written out."""
        return yaml_text.dump(self.model_dump(mode="json"))

    def digest(self) -> str:
        """SHA-256 of the resolved configuration."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def load_config(path: str | Path, settings: Iterable[str] = ()) -> PipelineConfig:
    """Reads and validates a configuration file, with `key.path=value` overrides.

    Raises:
        UserError: one line that names the key, the value and what is allowed.
    """
    return validate(PipelineConfig, override(read_yaml(path), settings), path)
