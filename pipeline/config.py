"""The whole configuration of a run, from one YAML file."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import Field, model_validator

from beam_jobs.config import ClipsConfig, Share, Strict, override, read_yaml, validate
from components.gate.config import GateConfig
from components.pusher.config import PushConfig
from components.serving_check.config import ServingCheckConfig
from components.trainer.config import ModelConfig, TrainConfig
from components.tuner.search_space import TuneConfig
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
        clips, model = self.clips, self.model
        for key, num_samples in (("hop_length", model.hop_length), ("n_fft", model.n_fft)):
            if num_samples > clips.num_samples:
                raise ValueError(f"model.{key} {num_samples} is longer than a clip of {clips.num_samples} samples")
        if model.mel_f_max_hz > clips.sample_rate_hz / 2:
            raise ValueError(
                f"model.mel_f_max_hz {model.mel_f_max_hz:g} is above half of clips.sample_rate_hz {clips.sample_rate_hz}"
            )
        if self.train.crop_s > clips.duration_s:
            raise ValueError(f"train.crop_s {self.train.crop_s:g} is longer than clips.duration_s {clips.duration_s:g}")
        if self.tune is not None:
            sections = {"model": model.model_dump(), "train": self.train.model_dump()}
            self.tune.check(sections, clips.num_samples, clips.sample_rate_hz)
        return self

    def to_yaml(self) -> str:
        """The resolved configuration, every default written out."""
        text: str = yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        return text

    def digest(self) -> str:
        """SHA-256 of the resolved configuration."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def load_config(path: str | Path, settings: Iterable[str] = ()) -> PipelineConfig:
    """Reads and validates a configuration file, with `key.path=value` overrides.

    Raises:
        UserError: one line that names the key, the value and what is allowed.
    """
    return validate(PipelineConfig, override(read_yaml(path), settings), path)
