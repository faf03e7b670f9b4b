# SPDX-License-Identifier: Apache-2.0
"""A configuration to start from, written from the models that check it: it has every key there is, and no other."""

import textwrap
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from beam_jobs import yaml_text
from pipeline.config import PipelineConfig

_EXAMPLES: dict[str, Any] = {
    "num_clips": {"train": 2000, "eval": 200, "test": 300},
    "space": {"train.learning_rate": {"min": 0.0005, "max": 0.005, "log": True}, "model.n_mels": [64, 96]},
}
"""Of the keys without a default."""
_SHORT = 3
"""A section of so few plain values fits into a line."""
_SIGNS = ((Ge, "ge", ">="), (Gt, "gt", ">"), (Le, "le", "<="), (Lt, "lt", "<"))

_WIDTH = 110

_HEAD = """\
# Settings of `audio-gender run`. Of those that can be left out, the defaults stand behind a `#`: take it away,
# from the first line of the section too, and change the value. Then: audio-gender config check FILE
"""


def starting_point() -> str:
    """YAML in which what must be given is given, and every other key stands behind `#` with its default."""
    lines = []
    for name, field in PipelineConfig.model_fields.items():
        section = section_of(field)
        lines += ["", *_comment(section.__doc__ if section else None), *_key(name, field, 0)]
    return _HEAD + "\n".join(lines) + "\n"


def _key(name: str, field: FieldInfo, depth: int) -> Iterator[str]:
    section, mark = section_of(field), "" if field.is_required() else "#"
    indent = "  " * depth
    if section is not None and (depth == 0 or not is_short(section)):
        yield f"{mark}{indent}{name}:"
        for inner, inner_field in section.model_fields.items():
            yield from (f"{mark}{line.removeprefix(mark)}" for line in _key(inner, inner_field, depth + 1))
        return
    yield from (f"{mark}{indent}{line}" for line in _comment(field.description))
    value = _EXAMPLES[name] if field.is_required() else plain(field.get_default(call_default_factory=True))
    allowed = allowed_values(field)
    yield f"{mark}{indent}{name}: {yaml_text.dump_inline(value)}" + (f"  # {allowed}" if allowed else "")


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """The section of a key that holds one; None for any other."""
    parts = (field.annotation, *get_args(field.annotation)) if get_origin(field.annotation) not in (list, dict) else ()
    return next((part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)), None)


def is_short(section: type[BaseModel]) -> bool:
    """Whether a section fits into a line."""
    return len(section.model_fields) <= _SHORT and not any(map(section_of, section.model_fields.values()))


def plain(value: Any) -> Any:
    """A default as YAML would say it."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def allowed_values(field: FieldInfo) -> str:
    """A key's bounds or choices in words; empty where any value of its type will do."""
    for part in (field.annotation, *get_args(field.annotation)):
        if get_origin(part) is Literal:
            *others, last = (str(choice) or "empty" for choice in get_args(part))
            return f"{', '.join(others)} or {last}"
    bounds = [
        f"{sign} {getattr(constraint, name)}"
        for constraint in field.metadata
        for kind, name, sign in _SIGNS
        if isinstance(constraint, kind)
    ]
    return " and ".join(bounds)


def _comment(text: str | None) -> list[str]:
    paragraph = " ".join((text or "").split("\n\n")[0].split())
    return [f"# {line}" for line in textwrap.wrap(paragraph, _WIDTH)]
