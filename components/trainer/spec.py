# SPDX-License-Identifier: Apache-2.0
"""What a training is told, as one validated object from the DAG to the last worker process."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from beam_jobs.clip_store import ClipsReference, ClipStore
from beam_jobs.clip_store.scratch import DEFAULT_SCRATCH_GB
from beam_jobs.config import Strict, validate
from components.trainer.config import ModelConfig, TrainConfig
from components.trainer.hyperparameters import with_hyperparameters, with_values


class TrainingSpec(Strict):
    """The settings of a training, and what it must know of its clips. TFX carries it as `custom_config`."""

    model: ModelConfig
    train: TrainConfig
    num_samples: Annotated[int, Field(ge=1)]
    """Samples in a clip."""
    sample_rate_hz: Annotated[int, Field(ge=1)]
    classes: Annotated[list[str], Field(min_length=2)]
    """Names by label."""
    max_duration_s: Annotated[float, Field(gt=0)] = 3600.0
    """Longest recording that the exported model answers."""
    decision_threshold: Literal["argmax", "eval"] = "argmax"
    """As `serving.decision_threshold`."""
    clips: ClipsReference | None = None
    """Where the clips are; the executor says it, so that the workers need no other file."""
    scratch_gb: Annotated[float, Field(gt=0)] = DEFAULT_SCRATCH_GB
    """As `data.scratch_gb`."""
    checkpoints: str | None = None
    """The folder from which a killed training resumes; it is removed when training has succeeded."""
    shared_folder: str | None = None
    """A folder that workers on other machines see too. With it the workers of `multi_worker` are Pods of a Kubernetes cluster,
    and the checkpoints lie there."""

    @classmethod
    def of(cls, fn_args: Any) -> Self:
        """The spec in TFX's FnArgs, with what a Tuner chose (`hyperparameters`) in place of the configuration's values.

        Raises:
            UserError: one line that names the first key that is not valid.
        """
        return validate(cls, with_hyperparameters(fn_args.custom_config, fn_args.hyperparameters), "custom_config")

    def with_values(self, values: Mapping[str, Any]) -> Self:
        """A copy in which each `section.name` of `values` has its value.

        Raises:
            UserError: a value is not valid.
        """
        return validate(type(self), with_values(self.model_dump(mode="json"), values), "custom_config")

    def open_clips(self) -> ClipStore:
        """The clips to train on.

        Raises:
            UserError: the dataset was changed since it was checked.
        """
        assert self.clips is not None, "the executor names the clips"
        return ClipStore(self.clips, self.scratch_gb)

    @property
    def crop_samples(self) -> int:
        """Samples in a crop, the longest where their length is drawn."""
        return round(self.train.crop_s * self.sample_rate_hz)

    @property
    def shortest_crop_samples(self) -> int:
        """Samples in the shortest crop."""
        return round((self.train.min_crop_s or self.train.crop_s) * self.sample_rate_hz)
