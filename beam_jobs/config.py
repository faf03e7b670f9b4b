# SPDX-License-Identifier: Apache-2.0
"""Configuration: what a YAML file may say about the clips, how it is read and checked."""

import copy
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator

from beam_jobs import yaml_text
from beam_jobs.errors import UserError
from beam_jobs.labels import DEFAULT_LABELS, MIXED, Labels
from beam_jobs.sections import Range, Share, Strict
from beam_jobs.variants import TrainChannel, TrainVoice

SPLITS = ("train", "eval", "test")
MAX_CLIPS = 10_000_000
"""Of a split: a clip's number has seven digits."""
MAX_SHARD_BYTES = 4_000_000_000
"""S3 renames, which is a copy, up to 5 GB at once."""

DEFAULT_BALANCE_DB = 10.0

MAX_SHOWN = 200
"""Characters of a wrong value that an error shows."""

_PLAINER = {
    "bool_type": "expected true or false",
    "dict_type": "expected a section with keys of its own",
    "model_type": "expected a section with keys of its own",
    "string_type": "expected text; put it in quotes",
}
"""Where pydantic speaks of Python, by its type of error."""

Model = TypeVar("Model", bound=BaseModel)


class NumClips(Strict):
    """Number of clips by split."""

    train: Annotated[int, Field(ge=1, le=MAX_CLIPS)]
    """Clips to train on."""
    eval: Annotated[int, Field(ge=1, le=MAX_CLIPS)]
    """Clips for early stopping and for choosing decision thresholds."""
    test: Annotated[int, Field(ge=1, le=MAX_CLIPS)]
    """Clips that the gate judges by."""


class SplitShares(Strict):
    """Share of each label's speakers by split."""

    train: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """Share of each label's speakers in split train."""
    eval: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """In split eval."""
    test: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """In split test."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        total = self.train + self.eval + self.test
        if not math.isclose(total, 1):
            raise ValueError(f"the shares add up to {total:.9g}, not 1")
        return self


class ClipsConfig(Strict):
    """How clips are mixed. Seconds, hertz and decibels as the names say."""

    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of everything random in splits and clips."""
    labels: Labels = list(DEFAULT_LABELS)
    """Two to fifty of the corpus's labels, in the order of the report: letters, digits, spaces and `_ . , + ( ) -`. Speakers with
    other labels are left out and named."""
    duration_s: Annotated[float, Field(gt=0, le=600)] = 60.0
    """Length of a clip."""
    sample_rate_hz: Annotated[int, Field(ge=8000, le=48000)] = 22050
    """Sample rate of the clips."""
    num_clips: NumClips
    """Number of clips by split."""
    clips_per_shard: Annotated[int, Field(ge=1)] = 64
    """Clips in one TFRecord file, which one worker makes at a time; a shard is at most 4 GB."""
    split_shares: SplitShares = SplitShares()
    """How each label's speakers are divided between the splits."""
    simultaneous_share: Share = 0.5
    """Share of clips whose voices start together; in the others they follow one another."""
    mixed_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of clips with voices of both of two labels; above 0 there is a third class, `mixed`."""
    mixed_balance_db: Annotated[float, Field(ge=0, le=20)] = DEFAULT_BALANCE_DB
    """How much softer than the other the voices of one label may be in a `mixed` clip; at 20 dB the softer one is inaudible."""
    min_utterances: Annotated[int, Field(ge=1, le=100)] = 1
    """Fewest utterances in a clip."""
    max_utterances: Annotated[int, Field(ge=1, le=100)] = 6
    """Most utterances in a clip."""
    gain_db: Range = Range(min=-12.0, max=0.0)
    """Gain of each utterance, from -60 to 0 dB."""
    length_share: Range = Range(min=0.5, max=1.0)
    """Share of each utterance that is used."""
    pause_s: Range = Range(min=0.0, max=5.0)
    """Pause between voices that follow one another."""
    train_speed: Range = Range(min=1.0, max=1.0)
    """Playback speed of each voice in training clips, as a factor; pitch and formants move with it. 0.5 to 2."""
    train_voice: TrainVoice | None = None
    """Changed voices in training clips: pitch, intonation, formants and tilt ([dataset
    format](../dataset.md#voices-and-channels-of-training-clips)). `train_voice: {}` takes all defaults; null: none."""
    train_channel: TrainChannel | None = None
    """Rooms, clipping amplifiers and codecs in training clips. `train_channel: {}` takes all defaults; null: none."""
    min_speech_s: Annotated[float, Field(gt=0)] = 1.0
    """A draw of utterances with less speech than this is drawn again; for a `mixed` clip, with less of either label."""
    max_rejected_share: Share = 0.05
    """Share of unusable files above which the job fails."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of their label indices; `mixed` where clips with both of two labels are asked for."""
        return (*self.labels, MIXED) if self.mixed_share else tuple(self.labels)

    @property
    def num_samples(self) -> int:
        """Samples in a clip."""
        return round(self.duration_s * self.sample_rate_hz)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.min_utterances > self.max_utterances:
            raise ValueError(f"min_utterances {self.min_utterances} is greater than max_utterances {self.max_utterances}")
        if not 0 < self.length_share.min <= self.length_share.max <= 1:
            raise ValueError("length_share must be above 0 and at most 1")
        if self.pause_s.min < 0:
            raise ValueError(f"pause_s.min {self.pause_s.min:g} is negative")
        if self.pause_s.max > 600:
            raise ValueError(f"pause_s.max {self.pause_s.max:g} is longer than the longest possible clip, 600 s")
        if not 0.5 <= self.train_speed.min <= self.train_speed.max <= 2:
            raise ValueError("train_speed must be between 0.5 and 2")
        if self.gain_db.max > 0:
            raise ValueError(f"gain_db.max {self.gain_db.max:g} is above 0 dB and would clip loud voices")
        if self.gain_db.min < -60:
            raise ValueError(f"gain_db.min {self.gain_db.min:g} is below -60 dB, where 16 bits resolve next to nothing")
        if self.mixed_share and len(self.labels) != 2:
            raise ValueError(f"mixed_share needs two labels, and clips.labels has {len(self.labels)}")
        if self.mixed_share and self.max_utterances < 2:
            raise ValueError("mixed_share needs clips of at least two voices, but max_utterances is 1")
        if self.train_voice is not None and (unknown := self.train_voice.pitch_hz.keys() - set(self.labels)):
            raise ValueError(f"train_voice.pitch_hz: there is no label {min(unknown)!r}; there are {', '.join(self.labels)}")
        if self.min_speech_s > self.duration_s:
            raise ValueError(f"min_speech_s {self.min_speech_s:g} is longer than duration_s {self.duration_s:g}")
        shard_bytes = min(self.clips_per_shard, max(self.num_clips.model_dump().values())) * 2 * self.num_samples
        if shard_bytes > MAX_SHARD_BYTES:
            raise ValueError(f"clips_per_shard {self.clips_per_shard} makes shards of {shard_bytes / 1e9:.1f} GB; at most 4 GB")
        return self


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Reads a YAML mapping.

    Raises:
        UserError: no such file, not YAML, or not a mapping at its top.

    """
    try:
        data = yaml_text.parse(yaml_text.read_file(path))
    except yaml_text.YamlError as error:
        where = f":{error.line}" if error.line else ""
        raise UserError(f"{path}{where}: not valid YAML ({error})") from None
    if not isinstance(data, dict):
        raise UserError(f"{path}: holds no settings; expected `key: value` lines, as in pipeline/configs/demo.yaml")
    return data


def override(data: dict[str, Any], settings: Iterable[str]) -> dict[str, Any]:
    """Returns `data` with each `key.path=value` applied; the value is read as YAML.

    Raises:
        UserError: a setting without `=`, a value that is not YAML, or one that goes through a value that holds no keys.

    """
    merged = copy.deepcopy(data)
    for setting in settings:
        path, separator, text = setting.partition("=")
        *parents, last = path.split(".")
        if not separator or not last:
            raise UserError(f"--set {setting}: expected key.path=value, such as clips.duration_s=10")
        section: Any = merged
        for key in parents:
            section = section.setdefault(key, {}) if isinstance(section, dict) else None
        if not isinstance(section, dict):
            raise UserError(f"--set {setting}: {'.'.join(parents)} is not a section")
        try:
            section[last] = yaml_text.parse(text)
        except yaml_text.YamlError as error:
            raise UserError(f"--set {setting}: the value is not valid YAML ({error})") from None
    return merged


def validate(model: type[Model], data: Mapping[str, Any], source: str | Path, prefix: str = "") -> Model:
    """Validates `data` whole.

    Raises:
        UserError: one line that names a wrong key, an unknown one first, its value, what is allowed, and how many more are wrong.

    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = error.errors()
        # A misspelt key first: it may be why another one is missing.
        problem = min(problems, key=lambda one: one["type"] != "extra_forbidden")
        parts = [*([prefix] if prefix else []), *map(str, problem["loc"])]
        key = ".".join(part if part.isprintable() else repr(part) for part in parts)
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise UserError(f"{source}: {_explain(model, key, prefix, problem)}{more}") from None


def _explain(model: type[BaseModel], key: str, prefix: str, problem: Any) -> str:
    if problem["type"] == "extra_forbidden":
        known = _known_keys(model, [str(part) for part in problem["loc"][:-1]])
        return f"unknown key {key}; known keys: {', '.join(known)}"
    if problem["type"] == "missing":
        return f"{key} is missing"
    message = _PLAINER.get(problem["type"], problem["msg"].removeprefix("Value error, "))
    if isinstance(problem["input"], dict | BaseModel):
        return f"{key or 'configuration'}: {message}"
    value = repr(problem["input"])
    shown = value if len(value) <= MAX_SHOWN else f"{value[:MAX_SHOWN]}…"
    return f"{key} is {shown}: {message[:1].lower()}{message[1:]}"


def _known_keys(model: type[BaseModel], path: list[str]) -> list[str]:
    for name in path:
        if name not in model.model_fields:
            continue  # an item of a list or a mapping, whose type is known already
        annotation = model.model_fields[name].annotation
        sections = [
            part for part in (annotation, *get_args(annotation)) if isinstance(part, type) and issubclass(part, BaseModel)
        ]
        if not sections:
            return []
        model = sections[0]
    return sorted(model.model_fields)


def load_section(model: type[Model], section: str, path: str | Path, settings: Iterable[str] = ()) -> Model:
    """Reads one section of a configuration file, for jobs that need no other.

    Raises:
        UserError: as `read_yaml`, `override` and `validate`.

    """
    data = override(read_yaml(path), settings)
    if section not in data:
        raise UserError(f"{path}: {section} is missing")
    return validate(model, data[section], path, section)
