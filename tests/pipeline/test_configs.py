# SPDX-License-Identifier: Apache-2.0
"""The configurations that come with the project, and their documentation."""

import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from pipeline.config import CONFIGS, PipelineConfig, load_config

ROOT = Path(__file__).parents[2]


def keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    found = []
    for name, field in model.model_fields.items():
        types = (field.annotation, *get_args(field.annotation))
        nested = [part for part in types if isinstance(part, type) and issubclass(part, BaseModel)]
        if nested and not prefix:
            found += keys(nested[0], f"{name}.")
        else:
            found.append(f"{prefix}{name}")
    return found


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_configuration_is_valid_and_survives_a_round_trip(path, tmp_path):
    config = load_config(path)
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(config.to_yaml())
    assert load_config(resolved) == config
    assert load_config(resolved).digest() == config.digest()


def test_the_article_is_60_seconds_at_22050_hz():
    assert load_config(CONFIGS / "librispeech.yaml").clips.num_samples == 1_323_000


def test_every_key_is_documented_and_every_documented_key_exists():
    documented = set(
        re.findall(
            r"`((?:corpus|clips|data|model|train|tune|gate|robustness|serving|serving_check|push|watch|beam|kubernetes)\.\w+)`",
            (ROOT / "docs/reference/configuration.md").read_text(),
        )
    )
    assert documented == set(keys(PipelineConfig))
