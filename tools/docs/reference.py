# SPDX-License-Identifier: Apache-2.0
"""Writes docs/reference/: configuration keys, commands and the Python API, from the models, the command line and docstrings.

`python -m tools.docs.reference` (part of `make docs`) writes the pages, and
tests/docs/test_generated_reference.py fails where they are stale.
"""

import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import click
import typer.main
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from beam_jobs import yaml_text
from beam_jobs.sections import Range
from pipeline.cli import app
from pipeline.config import PipelineConfig
from pipeline.starter import allowed_values, is_short, plain, section_of

FOLDER = Path(__file__).parents[2] / "docs/reference"
NOTE = "<!-- Written by `make docs` (tools/docs/reference.py): change the source, not this page. -->\n"

API = {
    "components.inference": ("load_model", "Model", "listen", "Prediction", "Timeline", "Segment", "Moment"),
    "pipeline.config": ("load_config",),
    "beam_jobs.corpus.readers": ("read_corpus", "recognise"),
    "beam_jobs.corpus.splits": ("split_speakers",),
    "beam_jobs.planning": ("ClipPlanner",),
    "beam_jobs.audio": ("read_audio", "resample"),
    "beam_jobs.mixing": ("db_to_amplitude", "add_up", "limit", "to_pcm16", "rms_dbfs"),
    "beam_jobs.speech": ("speech_ratio",),
    "beam_jobs.dataset": ("read_dataset_info", "fingerprint"),
    "beam_jobs.examples": ("encode_clip", "decode_clip", "read_records"),
}
"""What users import, by module."""

STATUSES = {
    "0": "done; of `run`: the model was pushed, waits for approval or is on trial",
    "1": "`submit`: the run on Kubeflow failed; anything else: a bug, with its traceback",
    "2": "a mistake that you can correct, in one line; of `predict`: a recording could not be read, the others were answered",
    "3": "`run`: the gate refused the model; everything worked, and serving is unchanged. `watch`: there is an alarm, whether or "
    "not it led to a retraining",
    "129, 130, 143": "ended by SIGHUP, Ctrl-C or SIGTERM, in one line; child processes and half-written files are gone",
}


def pages() -> dict[str, str]:
    """Every page of the reference by its file name."""
    return {"configuration.md": _configuration(), "commands.md": _commands(), "python.md": _python()}


def _configuration() -> str:
    lines = [
        NOTE,
        "# Configuration keys",
        "",
        "How a configuration is read and checked: [Configuration](../configuration.md). Only `clips.num_clips` is "
        "required, and `tune.space` if there is a section `tune`. Ranges (`{min, max}`) are drawn from evenly "
        "unless said otherwise. In a key, `NAME` stands for a name of your choice, such as a label or a node, and "
        "`[]` for an item of a list.",
    ]
    for name, field in PipelineConfig.model_fields.items():
        section = section_of(field)
        assert section is not None, name
        lines += ["", f"## `{name}`", "", _first_paragraph(section)]
        if field.default is None:
            lines += ["", f"Optional: off without this section; `{name}: {{}}` turns it on with all defaults."]
            if any(inner.is_required() for inner in section.model_fields.values()):
                lines[-1] = "Optional: off without this section."
        lines += ["", "| key | default | meaning |", "|---|---|---|", *_rows(section, name)]
    return "\n".join(lines) + "\n"


def _rows(section: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in section.model_fields.items():
        key, inner = f"{prefix}.{name}", section_of(field)
        text = _described(section, name)
        if inner is not None and (inner is Range or is_short(inner)) and not field.is_required():
            keys = "" if inner is Range else f" ({', '.join(f'`{key}`' for key in inner.model_fields)})"
            yield _row(key, _default(field), text + keys)
        elif inner is not None:
            yield _row(key, "required" if field.is_required() else "none" if field.default is None else "", text)
            yield from _rows(inner, key)
        else:
            allowed = f" Allowed: {found}." if (found := allowed_values(field)) else ""
            yield _row(key, "required" if field.is_required() else _default(field), text + allowed)
            for item, mark in _items(field.annotation):
                if key != "kubernetes.steps":  # the keys of kubernetes.step, which stand above
                    yield from _rows(item, f"{key}{mark}")


def _items(annotation: Any) -> Iterator[tuple[type[BaseModel], str]]:
    """The sections that a list or a mapping holds, with what stands for an item in a key."""
    origin = getattr(annotation, "__origin__", None)
    mark = {list: "[]", dict: ".NAME"}.get(origin, "") if origin else ""
    for part in get_args(annotation) if mark else ():
        for item in (part, *get_args(part)):
            if isinstance(item, type) and issubclass(item, BaseModel):
                yield item, mark


def _described(section: type[BaseModel], name: str) -> str:
    """A key's text, of the class that first has it."""
    fields = (parent.model_fields.get(name) for parent in section.__mro__ if issubclass(parent, BaseModel))
    text = next((field.description for field in fields if field is not None and field.description), None)
    assert text, f"{section.__name__}.{name} has no docstring to stand in docs/reference/configuration.md"
    return " ".join(text.split())


def _default(field: FieldInfo) -> str:
    value = plain(field.get_default(call_default_factory=True))
    return f"`{yaml_text.dump_inline(value)}`"


def _row(*cells: str) -> str:
    first, *others = cells
    return "| " + " | ".join([f"`{first}`", *(cell.replace("|", "\\|") for cell in others)]) + " |"


def _first_paragraph(documented: Any) -> str:
    return " ".join((documented.__doc__ or "").split("\n\n")[0].split())


def _commands() -> str:
    group = typer.main.get_command(app)
    lines = [
        NOTE,
        "# Commands",
        "",
        "`-h` prints the same text, `audio-gender --version` the version, and `python -m pipeline` is the same program. "
        "Results (tables, JSON, verdicts) go to stdout, progress and messages to stderr: `audio-gender runs | grep pushed`. "
        "With `--json -` stdout holds the JSON and nothing else.",
        "",
        "| exit status | meaning |",
        "|---|---|",
        *(f"| {status} | {meaning} |" for status, meaning in STATUSES.items()),
    ]
    lines += _command(group, "audio-gender", None)
    return "\n".join(lines) + "\n"


def _command(command: Any, name: str, parent: click.Context | None) -> list[str]:
    context = click.Context(command, info_name=name.rsplit(" ", 1)[-1], parent=parent)
    lines = []
    if not hasattr(command, "commands") or (parent is not None and command.invoke_without_command):
        usage = " ".join([name, *command.collect_usage_pieces(context)])
        lines += ["", f"## `{name}`", "", *_plain_help(command.help or "").split("\n"), "", "```text", usage, "```"]
        lines += _table("argument", [record for p in command.params if (record := _argument(p, context))])
        lines += _table("option", [record for p in command.params if (record := _option(p, context))])
    for inner, nested in getattr(command, "commands", {}).items():
        lines += _command(nested, f"{name} {inner}", context)
    return lines


def _argument(parameter: Any, context: click.Context) -> tuple[str, str] | None:
    record = parameter.get_help_record(context) if parameter.param_type_name == "argument" else None
    return record and (re.sub(r"[][{}]", "", record[0]), record[1])


def _option(parameter: Any, context: click.Context) -> tuple[str, str] | None:
    known = parameter.param_type_name == "option" and not {"--help", "--install-completion"} & set(parameter.opts)
    return parameter.get_help_record(context) if known else None


def _table(kind: str, records: list[tuple[str, str]]) -> list[str]:
    if not records:
        return []
    rows = (_row(re.sub("<.*>", _plain_type, name).strip(), " ".join(text.split())) for name, text in records)
    return ["", f"| {kind} | meaning |", "|---|---|", *rows]


def _plain_type(found: re.Match[str]) -> str:
    """What stands for a value, without Python's types."""
    name = found[0][1:-1]
    if "|" in name:
        return name
    return "N" if name.endswith("range") else "" if name == "path" else "" if name == "Path" else "TEXT"


def _plain_help(text: str) -> str:
    return "\n".join(line.strip() for line in inspect.cleandoc(text).splitlines())


def _python() -> str:
    lines = [
        NOTE,
        "# Python API",
        "",
        "What users import. Examples that start with `>>>` are run by the tests (`tests/docs/test_docstrings.py`).",
    ]
    for name, names in API.items():
        module = inspect.importlib.import_module(name)  # type: ignore[attr-defined]
        lines += ["", f"## `{name}`"]
        for public in names:
            lines += _documented(module, public)
    return "\n".join(lines) + "\n"


def _documented(module: ModuleType, name: str) -> Iterator[str]:
    thing = getattr(module, name)
    yield from ("", f"### `{name}`", "", *_signature(thing, name), "", *_docstring(thing))
    for inner, method in vars(thing).items() if inspect.isclass(thing) else ():
        if inspect.isfunction(method) and not inner.startswith("_") and method.__doc__:
            yield from ("", f"#### `{name}.{inner}`", "", *_signature(method, inner), "", *_docstring(method))


def _signature(thing: Any, name: str) -> list[str]:
    # As the source has it: what annotations come to differs between versions of NumPy.
    source = inspect.getsource(thing)
    if inspect.isclass(thing):
        made = thing.__dict__.get("__init__")
        if made is None or made.__qualname__.split(".")[0] != thing.__name__ or "<string>" in made.__code__.co_filename:
            return []
        source = inspect.getsource(made)
    header = re.match(r"\s*(?:@[^\n]*\n\s*)*def \w+(\(.*?\)(?: -> [^\n]*?)?):\n", source, re.DOTALL)
    assert header, name
    flat = " ".join(header[1].split()).replace("( ", "(").replace(", )", ")").replace("(self, ", "(").replace("(self)", "()")
    return ["```python", f"{name}{flat.removesuffix(' -> None')}", "```"]


def _docstring(thing: Any) -> list[str]:
    lines: list[str] = []
    for block in inspect.cleandoc(thing.__doc__ or "").split("\n\n"):
        title, _, rest = block.partition("\n")
        if re.fullmatch(r"(Args|Raises|Attributes|Returns|Yields):", title):
            items = re.split(r"\n(?=\S)", textwrap.dedent(rest))
            lines += [
                f"**{title}**",
                "",
                *(f"- `{n.strip()}`: {' '.join(t.split())}" for n, _, t in (i.partition(":") for i in items)),
            ]
        elif title.startswith(">>>") or title == "Examples:" or title == "Example:":
            code = textwrap.dedent(rest if title.startswith("Ex") else block)
            lines += ["```pycon", *code.splitlines(), "```"]
        else:
            lines += [" ".join(block.split()) if not re.search(r"^[-*] ", block, re.M) else block]
        lines.append("")
    return lines[:-1]


def main() -> None:
    """Writes the pages."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
