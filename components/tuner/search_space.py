# SPDX-License-Identifier: Apache-2.0
"""Tuning as data: what may be searched, which combinations make a network, and what a search chose."""

import itertools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator

from beam_jobs.config import Strict
from components.trainer.config import ModelConfig, TrainConfig, training_problem
from components.trainer.hyperparameters import decode, with_values
from components.trainer.spec import TrainingSpec

SECTIONS: dict[str, type[Strict]] = {"model": ModelConfig, "train": TrainConfig}

HOW_NOT_WHAT = {
    f"train.{name}"
    for name in (
        "epochs",
        "early_stopping_patience",
        "seed",
        "scale_learning_rate",
        "strategy",
        "num_workers",
        "jit_compile",
        "cache",
        "deterministic",
        "monitor_every",
        "monitor_clips",
        "wandb_project",
    )
}
"""Settings of how a training runs, not of what comes out of it; of a trial, `tune.epochs` decides its length."""

RELATED = (("model.n_fft", "model.hop_length", "train.crop_s"), ("model.mel_f_min_hz", "model.mel_f_max_hz"))
"""Groups of settings whose values are possible only together; every other is judged alone."""

MAX_VALUES = 20
"""In a list; three related lists make 8,000 combinations, which are all looked at."""


class SearchRange(Strict):
    """A closed range to draw from, evenly or evenly in the logarithm."""

    min: float
    """Lower end."""
    max: float
    """Upper end."""
    log: bool = False
    """Draw evenly in the logarithm."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.min >= self.max:
            raise ValueError(f"min {self.min:g} is not below max {self.max:g}")
        if self.log and self.min <= 0:
            raise ValueError(f"min {self.min:g} must be above 0 for log: true")
        return self


class TuneConfig(Strict):
    """A random search over settings of `model` and `train`, before the training itself."""

    trials: Annotated[int, Field(ge=1, le=1000)] = 10
    """Combinations to try."""
    epochs: Annotated[int, Field(ge=1)] = 5
    """Epochs of each trial."""
    objective: Literal["val_loss", "val_accuracy"] = "val_loss"
    """What trials are compared by, at their best epoch."""
    space: Annotated[dict[str, list[Any] | SearchRange], Field(min_length=1)]
    """By setting of `model` or `train`, up to 20 values to choose from, or for a real number `min`, `max` and `log`."""

    @field_validator("space", mode="before")
    @classmethod
    def _known(cls, space: Any) -> Any:
        return {str(key): _candidates(str(key), values) for key, values in space.items()} if isinstance(space, Mapping) else space

    @model_validator(mode="after")
    def _comparable(self) -> Self:
        if self.objective == "val_loss" and "train.label_smoothing" in self.space:
            raise ValueError("train.label_smoothing changes the loss that trials are compared by; set objective: val_accuracy")
        return self

    def check(self, sections: Mapping[str, Any], num_samples: int, sample_rate_hz: int) -> None:
        """Holds every value of the space against the rest of the configuration, which is possible without the space.

        Args:
            sections: `model` and `train`, as mappings.
            num_samples: length of a clip.
            sample_rate_hz: of the clips.

        Raises:
            ValueError: no combination with some value makes a network; names the value and why.
        """
        reasons: dict[tuple[str, Any], str | None] = {}
        for group in RELATED:
            related = {key: _listed(self.space[key]) for key in group if key in self.space}
            for combination in itertools.product(*related.values()):
                values = dict(zip(related, combination, strict=True))
                reason = impossible(with_values(sections, values), num_samples, sample_rate_hz)
                for value in values.items():
                    reasons[value] = reason and reasons.get(value, reason)
        for (key, value), reason in reasons.items():
            if reason:
                raise ValueError(f"tune.space: {key} {value:g} cannot make a network: {reason}")


class TuningSpec(TrainingSpec):
    """What a Tuner is told: the training whose settings it searches, and the search."""

    tune: TuneConfig


def impossible(sections: Mapping[str, Any], num_samples: int, sample_rate_hz: int) -> str | None:
    """Why `model` and `train` of `sections` make no network for clips of `num_samples`; None where they make one."""
    try:
        model, train = ModelConfig.model_validate(sections["model"]), TrainConfig.model_validate(sections["train"])
    except ValidationError as error:
        return _first_problem(error)
    return training_problem(model, train, num_samples, sample_rate_hz)


def read_best(folder: str) -> dict[str, Any]:
    """What a Tuner chose, by setting, from its `best_hyperparameters` artifact on this machine."""
    return decode(json.loads(Path(folder, "best_hyperparameters.txt").read_text())["values"])


def format_settings(values: Mapping[str, Any]) -> str:
    """`model.n_fft=512, train.learning_rate=0.00131`."""
    return ", ".join(f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in values.items())


def _candidates(key: str, values: Any) -> list[Any] | SearchRange:
    section, _, name = key.partition(".")
    field = SECTIONS[section].model_fields.get(name) if section in SECTIONS else None
    if field is None or key in HOW_NOT_WHAT:
        raise ValueError(f"{key} is not a setting to tune; those are {', '.join(_tunable())}")
    annotation: Any = Annotated[field.annotation, field]
    if isinstance(field.annotation, type) and issubclass(field.annotation, Strict):
        allowed: TypeAdapter[Any] = TypeAdapter(annotation)
    else:
        allowed = TypeAdapter(annotation, config=ConfigDict(strict=True, allow_inf_nan=False))
    if isinstance(values, Mapping | SearchRange):
        search = _valid(TypeAdapter(SearchRange), key, values)
        if field.annotation is not float:
            raise ValueError(f"{key} takes a list of values; only a real number takes a range")
        for end in _listed(search):
            _valid(allowed, key, end)
        return search
    if not isinstance(values, list) or not values:
        raise ValueError(f"{key} is {values!r}: expected a list of values, or for a real number {{min, max, log}}")
    if len(values) > MAX_VALUES:
        raise ValueError(f"{key} has {len(values)} values to choose from; at most {MAX_VALUES}")
    return [_valid(allowed, key, value) for value in values]


def _tunable() -> Iterable[str]:
    names = (f"{section}.{name}" for section, model in SECTIONS.items() for name in model.model_fields)
    return (name for name in names if name not in HOW_NOT_WHAT)


def _listed(values: list[Any] | SearchRange) -> list[Any]:
    return [values.min, values.max] if isinstance(values, SearchRange) else values


def _valid(allowed: TypeAdapter, key: str, value: Any) -> Any:
    try:
        valid = allowed.validate_python(value)
    except ValidationError as error:
        raise ValueError(f"{key} is {value!r}: {_first_problem(error)}") from None
    # KerasTuner keeps values as JSON.
    return valid.model_dump() if isinstance(valid, Strict) and not isinstance(valid, SearchRange) else valid


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    message = problem["msg"].removeprefix("Value error, ")
    return " ".join([*(str(part) for part in problem["loc"]), message[:1].lower() + message[1:]])
