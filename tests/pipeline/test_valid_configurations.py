# SPDX-License-Identifier: Apache-2.0
"""What validates can be built: random configurations, drawn from the models that check them, near the edges."""

import itertools
import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin

import numpy as np
import pytest
import tensorflow as tf
from annotated_types import Ge, Gt, Le, Lt, MultipleOf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from beam_jobs import yaml_text
from beam_jobs.config import SPLITS
from beam_jobs.corpus.index import Speaker, Utterance
from beam_jobs.errors import UserError
from beam_jobs.generate_clips import check_beam_options
from beam_jobs.labels import DEFAULT_LABELS
from beam_jobs.planning import ClipPlanner, count_classes
from components.trainer.config import ModelConfig, TrainConfig
from components.trainer.hyperparameters import decode, encode, with_values
from components.trainer.network.model import build_model
from components.tuner.search_space import RELATED, SearchRange, TuneConfig, _listed
from components.tuner.tuner_fn import _hyperparameters
from pipeline.config import PipelineConfig


def bound(field: FieldInfo, *kinds: type) -> Any:
    return next(
        (getattr(item, kind.__name__.lower()) for item in field.metadata for kind in kinds if isinstance(item, kind)), None
    )


def numbers(field: FieldInfo, kind: type) -> st.SearchStrategy:
    """Values at both edges, the default, and some in between, of an order of magnitude that a computer can build."""
    low, high = bound(field, Ge, Gt), bound(field, Le, Lt)
    step: Any = next((item.multiple_of for item in field.metadata if isinstance(item, MultipleOf)), 1)
    near = [value for value in (low, high) if value is not None]
    if kind is int:
        low = int(low or 0)
        return st.sampled_from([low, low + step, *map(int, near)]) | st.integers(0, 200).map(lambda k: low + k * step)
    # Hypothesis takes only bounds that a float of that width holds; those of the field are drawn by themselves.
    inside = np.nextafter(np.float32(high or 100), np.float32(0), dtype=np.float32)
    return st.sampled_from([*map(float, near), 1e-9, 0.05, 1.0]) | st.floats(float(low or 0), float(inside), width=32)


def values(annotation: Any, field: FieldInfo) -> st.SearchStrategy:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return sections(annotation)
    if annotation in (int, float):
        return numbers(field, annotation)
    if annotation is bool:
        return st.booleans()
    if annotation is type(None):
        return st.none()
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (Union, types.UnionType):
        return st.one_of(*(values(part, field) for part in arguments))
    if hasattr(annotation, "__metadata__"):
        return values(arguments[0], FieldInfo.from_annotation(annotation))
    return st.just(field.get_default(call_default_factory=True) if not field.is_required() else None)


def sections(model: type[BaseModel]) -> st.SearchStrategy[dict[str, Any]]:
    strategies = {name: values(field.annotation, field) for name, field in model.model_fields.items()}
    required = {name: strategies[name] for name, field in model.model_fields.items() if field.is_required()}
    return st.fixed_dictionaries(required, optional={name: strategies[name] for name in strategies.keys() - required.keys()})


SPACE: dict[str, list[Any]] = {
    "model.n_fft": [[64, 65], [1024], [512, 1024, 2048]],
    "model.hop_length": [[16, 512], [64]],
    "model.filters": [[[1, 2, 3, 4], [8, 8, 8, 8]]],
    "model.augment": [[{"equalizer_db": 1e-5}, {"noise_share": 0.0}]],
    "model.dropout": [[0.0, 0.5], {"min": 0.0, "max": 0.5}],
    "train.crop_s": [[0.05, 1.0], {"min": 0.5, "max": 1.0}],
    "train.precision": [["float32", "mixed_bfloat16"]],
    "train.learning_rate": [[1e-4], {"min": 1e-5, "max": 1e-2, "log": True}],
}
TUNED = st.fixed_dictionaries(
    {"space": st.fixed_dictionaries({}, optional={key: st.sampled_from(found) for key, found in SPACE.items()}).filter(bool)},
    optional={"trials": st.integers(1, 1000), "objective": st.sampled_from(["val_loss", "val_accuracy"])},
)


@st.composite
def configurations(draw: Any) -> PipelineConfig:
    """Valid ones; of those that are not, an impossible part is left at its default."""
    data = {"clips": {"num_clips": {"train": 8, "eval": 8, "test": 8}}}
    candidates = draw(sections(PipelineConfig).filter(bool)) | {"tune": draw(TUNED)}
    for name, section in candidates.items():
        for key, value in section.items() if isinstance(section, dict) else ():
            trial = data | {name: data.get(name, {}) | {key: value}}
            if name == "tune" or key == "num_clips":
                trial = data | {name: section if name == "tune" else data.get(name, {}) | {key: value}}
            try:
                PipelineConfig.model_validate(trial)
            except ValidationError:
                continue
            data = trial
    return PipelineConfig.model_validate(data)


CAST = tuple(
    Speaker(
        f"{label}{k}",
        label,
        "train",
        tuple(Utterance(f"{label}{k}-{n}", f"{label}{k}-{n}.flac", 320_000, 16_000) for n in range(34)),
    )
    for label in DEFAULT_LABELS
    for k in range(3)
)


@given(configurations())
@settings(max_examples=50, suppress_health_check=list(HealthCheck), deadline=None)
def test_a_valid_configuration_is_stored_planned_and_searched(config: PipelineConfig) -> None:
    assert PipelineConfig.model_validate(yaml_text.parse(config.to_yaml())) == config

    for split in SPLITS:
        counts = count_classes(config.clips, split)
        assert sum(counts.values()) == getattr(config.clips.num_clips, split)
        assert min(counts.values()) >= config.data.min_class_share * sum(counts.values())
    try:
        plan = ClipPlanner(config.clips, "train", CAST).plan(0)
    except UserError as error:
        assert "was drawn 1000 times" in str(error)  # which voices there are is the corpus's affair
    else:
        assert plan.placements

    if config.tune is not None:
        assert set(decode(_hyperparameters(config.tune).get_config()["values"])) == set(config.tune.space)
        for key, listed in config.tune.space.items():
            for value in [] if isinstance(listed, SearchRange) else listed:
                assert decode({key: encode(value)}) == {key: value}
                assert any(is_valid(config, trial) for trial in trials_with(config.tune, key, value))


def trials_with(tune: TuneConfig, key: str, value: Any) -> Iterator[dict[str, Any]]:
    """What the Tuner may choose together with a value, of the settings that depend on one another."""
    group = next((group for group in RELATED if key in group), ())
    others = {other: _listed(tune.space[other]) for other in group if other in tune.space and other != key}
    for combination in itertools.product(*others.values()):
        yield {**dict(zip(others, combination, strict=True)), key: value}


def is_valid(config: PipelineConfig, trial: dict[str, Any]) -> bool:
    sections = with_values({"model": config.model.model_dump(), "train": config.train.model_dump()}, trial)
    try:
        ModelConfig.model_validate(sections["model"])
        TrainConfig.model_validate(sections["train"])
    except ValidationError:
        return False
    return True


@given(configurations())
@settings(max_examples=10, suppress_health_check=list(HealthCheck), deadline=None)
def test_the_network_of_a_valid_configuration_hears_the_shortest_crop(config: PipelineConfig) -> None:
    model = ModelConfig.model_validate(
        config.model.model_dump() | {"filters": [min(4, number) for number in config.model.filters]}
    )
    num_samples = model.n_fft + model.hop_length  # as short as a crop may be

    network = build_model(model, num_samples, config.clips.sample_rate_hz, len(config.clips.classes))

    answer = network(tf.random.normal([1, num_samples]))["probabilities"]
    assert answer.shape == [1, len(config.clips.classes)]
    assert tf.reduce_all(tf.math.is_finite(answer))


@pytest.mark.parametrize("architecture", ["conv3d", "cnn2d", "crnn", "prototype"])
def test_the_smallest_input_of_every_network(architecture: Any) -> None:
    model = ModelConfig(architecture=architecture, n_fft=64, hop_length=16, n_mels=8, filters=[1, 1, 1, 1])

    assert build_model(model, 80, 8000, 2)(tf.zeros([1, 80]))["probabilities"].shape == [1, 2]


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        ("--runner=NoRunner", "Unexpected pipeline runner: NoRunner"),
        ("--direct_num_workers=many", "--direct_num_workers: invalid int value: 'many'"),
        ("--direct_running_mode=fast", "invalid choice: 'fast'"),
    ],
)
def test_beam_s_options_are_held_against_beam(option: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        check_beam_options([option])
