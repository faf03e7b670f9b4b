# SPDX-License-Identifier: Apache-2.0
"""YAML as users write it: the core schema of YAML 1.2, one reading of every line, never more than it looks."""

import copy
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from beam_jobs.errors import UserError
from beam_jobs.paths import check_file

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
"""Of lists and mappings in one another; the deepest key of the configuration lies at 6."""
MAX_VALUES = 20_000
"""With aliases counted as often as they repeat a value: ten lines of them can stand for a billion."""

_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
"""`yes`, `no`, `on` and `off` are text, as are dates: YAML 1.1, which PyYAML reads, has them otherwise."""


class YamlError(ValueError):
    """What is wrong with a text, in one line, and in which line of it (from 1) where that is known."""

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(problem)
        self.line = line


def parse(text: str | bytes) -> Any:
    """Reads one YAML document: mappings with text as keys, lists, text, numbers, true, false, null; aliases become copies.

    Args:
        text: as bytes, UTF-8 or UTF-16 with a byte order mark.

    Raises:
        YamlError: not YAML, a key given twice, a tag, more than one document, or one that is too deep or too large.
    """
    documents = parse_all(text)
    if len(documents) > 1:
        raise YamlError("more than one document; remove the `---` line between settings")
    return documents[0] if documents else None


def parse_all(text: str | bytes) -> list[Any]:
    """Reads all documents of a text, as `parse` reads one."""
    try:
        return list(_documents(yaml.parse(text, Loader=yaml.SafeLoader)))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(_one_line(error.problem or str(error)), mark.line + 1 if mark else None) from None
    except yaml.YAMLError as error:
        raise YamlError(_one_line(str(error))) from None
    except (ValueError, OverflowError) as error:
        # PyYAML lets through what `chr` says of "\UFFFFFFFF".
        raise error if isinstance(error, YamlError) else YamlError(_one_line(str(error))) from None


CONFIG_WANTED = "give a configuration file, such as pipeline/configs/demo.yaml"


def read_file(path: str | Path, wanted: str = CONFIG_WANTED) -> bytes:
    """The content of a file that a user names as YAML; `wanted` tells them what to give where there is none.

    Raises:
        UserError: no such file, not a regular one (a pipe would be waited for, a device has no end), or too large.
    """
    try:
        check_file(path)
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: {reason}; {wanted}") from None
    if len(content) > MAX_BYTES:
        raise UserError(f"{path}: larger than {MAX_BYTES:,} bytes; {wanted}")
    return content


class _Dumper(yaml.SafeDumper):
    """Quotes text that either version of YAML would read as something else."""


_Dumper.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(f"(?:{_INT.pattern})$"), list("-+0123456789"))
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(f"(?:{_FLOAT.pattern})$"), list("-+.0123456789"))

# PyYAML loses rare line breaks (U+0085) in other styles than this one, which escapes them.
_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"'),
)


def dump(data: Any) -> str:
    """Writes what `parse` reads back as it was, keys in their order."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text


def dump_inline(data: Any) -> str:
    """The same in one line, as what stands behind a key: `{min: 0.0, max: 1.0}`."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=True, width=math.inf)
    return text.removesuffix("...\n").rstrip("\n")


def _documents(events: Iterator[yaml.Event]) -> Iterator[Any]:
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            yield _Document(events).value(next(events), 0)


class _Document:
    """Makes values of the events of one document."""

    def __init__(self, events: Iterator[yaml.Event]) -> None:
        self._events = events
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._num_values = 0

    def value(self, event: Any, depth: int) -> Any:
        """The value that begins with `event`, read to its end."""
        if depth > MAX_DEPTH:
            raise _at(event, f"more than {MAX_DEPTH} levels of lists and mappings")
        if isinstance(event, yaml.AliasEvent):
            return self._repeated(event)
        if event.tag not in (None, "!"):
            raise _at(event, f"the tag {event.tag!r} is not used here; leave it out")
        before = self._num_values
        self._count(1, event)
        if isinstance(event, yaml.ScalarEvent):
            value = _scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = [self.value(item, depth + 1) for item in iter(self._next, None)]
        else:
            value = self._mapping(depth)
        if event.anchor:
            self._anchors[event.anchor] = value, self._num_values - before
        return value

    def _next(self) -> yaml.Event | None:
        event = next(self._events)
        return None if isinstance(event, yaml.CollectionEndEvent) else event

    def _mapping(self, depth: int) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        lines: dict[str, int] = {}
        event: Any
        for event in iter(self._next, None):
            line = event.start_mark.line + 1
            if not isinstance(event, yaml.ScalarEvent):
                raise _at(event, "a key must be a word")
            key = event.value
            _check_text(event)
            if key in lines:
                where = f"in line {line}" if line == lines[key] else f"in lines {lines[key]} and {line}"
                raise _at(event, f"the key {key!r} is given twice, {where}")
            lines[key] = line
            begin = next(self._events)
            value = self.value(begin, depth + 1)
            if key == "<<" and event.style is None:
                merged = _merge(begin, value)
            else:
                own[key] = value
        return {**merged, **own}

    def _repeated(self, event: Any) -> Any:
        if event.anchor not in self._anchors:
            raise _at(event, f"*{event.anchor} repeats something that is not defined before it as &{event.anchor}")
        value, num_values = self._anchors[event.anchor]
        self._count(num_values, event)
        return copy.deepcopy(value)

    def _count(self, number: int, event: Any) -> None:
        self._num_values += number
        if self._num_values > MAX_VALUES:
            raise _at(event, f"more than {MAX_VALUES:,} values, aliases counted as often as they repeat one")


def _merge(event: Any, value: Any) -> dict[str, Any]:
    mappings = value if isinstance(value, list) else [value]
    if not all(isinstance(mapping, dict) for mapping in mappings):
        raise _at(event, "`<<` takes a mapping, or a list of mappings")
    # Of several the first one wins.
    return {key: item for mapping in reversed(mappings) for key, item in mapping.items()}


def _scalar(event: Any) -> Any:
    text: str = event.value
    _check_text(event)
    if event.style is not None or event.tag == "!":
        return text
    if text in _WORDS:
        return _WORDS[text]
    try:
        if _INT.fullmatch(text):
            return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
        # Python writes infinity and NaN without the dot.
        return float(re.sub(r"\.(?=[a-zA-Z])", "", text)) if _FLOAT.fullmatch(text) else text
    except ValueError as error:  # Python takes no more than 4,300 digits
        raise _at(event, str(error)) from None


def _check_text(event: Any) -> None:
    try:
        event.value.encode()
    except UnicodeEncodeError:
        raise _at(event, "an unpaired surrogate is not a character") from None


def _at(event: Any, problem: str) -> YamlError:
    return YamlError(problem, event.start_mark.line + 1)


def _one_line(text: str) -> str:
    return " ".join(text.split())
