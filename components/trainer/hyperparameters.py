# SPDX-License-Identifier: Apache-2.0
"""What a Tuner chose, as KerasTuner holds it and as the configuration does."""

import json
from collections.abc import Mapping
from typing import Any

from beam_jobs import yaml_text


def with_values(sections: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `sections` in which each `section.name` of `values` has its value."""
    merged = dict(sections)
    for key, value in values.items():
        section, _, name = key.partition(".")
        merged[section] = {**merged[section], name: value}
    return merged


def with_hyperparameters(config: Mapping[str, Any], hyperparameters: Mapping[str, Any] | None) -> dict[str, Any]:
    """The Trainer's `custom_config` with what a Tuner chose; as it is where none ran (`hyperparameters` None)."""
    return with_values(config, decode(hyperparameters["values"]) if hyperparameters else {})


def encode(value: Any) -> int | float | str:
    """A value as KerasTuner can hold it: lists and truth values become text."""
    return value if type(value) in (int, float, str) else json.dumps(value)


def decode(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as KerasTuner holds them -> as the configuration does."""
    return {key: yaml_text.parse(value) if isinstance(value, str) else value for key, value in values.items()}
