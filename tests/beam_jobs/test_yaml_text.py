# SPDX-License-Identifier: Apache-2.0
"""YAML as users write it has one reading, and what cannot be read is told at once, in one line and little memory."""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs import yaml_text
from beam_jobs.config import override, read_yaml
from beam_jobs.errors import UserError

PACKAGED = sorted((Path(__file__).parents[2] / "pipeline/configs").glob("*.yaml"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E+3", 1000.0),
        (".5", 0.5),
        ("-1.", -1.0),
        ("+12", 12),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        (".inf", float("inf")),
        ("-.INF", float("-inf")),
        ("true", True),
        ("~", None),
        ("", None),
        *(
            (word, word)
            for word in ("yes", "No", "on", "OFF", "y", "1_000", "1:30", "2020-01-02", "0b11", "e5", ".", "=", "1e", "-")
        ),
        ("'1'", "1"),
        ('"true"', "true"),
        ("! 1", "1"),
        ("\ufeff1", 1),
    ],
)
def test_a_scalar_is_what_yaml_1_2_says(text: str, value: object) -> None:
    if text == "-":
        value = [None]
    read = yaml_text.parse(text)
    assert (read, type(read)) == (value, type(value))


def test_yaml_1_2_by_another_parser() -> None:
    ruamel = pytest.importorskip("ruamel.yaml")
    parser = ruamel.YAML(typ="safe", pure=True)
    texts = [path.read_text() for path in PACKAGED]
    texts += [
        "a: 1e-4\nb: on\nc: 0o17\nd: 010\ne: 0x1f\nf: [.5, -.inf, ~, 'x', No]\ng: {h: 1E3}\n",
        "a: &x {b: 1}\nc: {<<: *x, d: *x}\n",
    ]
    assert len(texts) >= 5
    for text in texts:
        assert yaml_text.parse(text) == json.loads(json.dumps(parser.load(text)))


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3),
    max_leaves=8,
)


@given(PLAIN)
def test_what_is_written_is_read_back(data: Any) -> None:
    assert yaml_text.parse(yaml_text.dump({"key": data})) == {"key": data}


@pytest.mark.parametrize("word", ["1e-4", "0o17", "yes", "010", "1:30", "null", "2020-01-02", "<<"])
def test_text_that_either_version_reads_otherwise_is_quoted(word: str) -> None:
    text = yaml_text.dump({"a": word})
    assert yaml_text.parse(text) == yaml.safe_load(text) == {"a": word}


@given(st.text() | st.binary() | st.text("[]{}&*a:-? !<>|'\"#%\n\t", max_size=40))
def test_any_text_is_read_or_one_line(text: str | bytes) -> None:
    try:
        yaml_text.parse(text)
    except yaml_text.YamlError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("gate: {a: 1}\nb: 1\ngate: {}\n", 3, "the key 'gate' is given twice, in lines 1 and 3"),
        ("a:\n  b: 1\n  c: 2\n  'b': 3\n", 4, "the key 'b' is given twice, in lines 2 and 4"),
        ("a: {b: 1, b: 2}\n", 1, "the key 'b' is given twice, in line 1"),
        (
            "a: !!python/object/apply:os.system [x]\n",
            1,
            "the tag 'tag:yaml.org,2002:python/object/apply:os.system' is not used here",
        ),
        ('a: !!int ""\n', 1, "the tag"),
        ("a: &x [*x]\n", 1, "*x repeats something that is not defined before it"),
        ("a: *x\n", 1, "*x repeats something that is not defined before it"),
        ("? [a]\n: b\n", 1, "a key must be a word"),
        ("a: {<<: 3}\n", 1, "`<<` takes a mapping"),
        ('a: "\\ud800"\n', 1, "an unpaired surrogate"),
        ('"\\ud800": 1\n', 1, "an unpaired surrogate"),
        ('a: "\\UFFFFFFFF"\n', None, "int too large to convert"),
        ("a: " + "9" * 5000, 1, "4300 digits"),
        ("a: 1\n---\nb: 2\n", None, "more than one document"),
        ("a: 1\n\tb: 2\n", 2, "found character '\\t'"),
        (b"a: \xff\n", None, "invalid start byte"),
        ("a: \x1b[31m\n", None, "unacceptable character #x001b"),
    ],
)
def test_what_is_not_read_is_named_with_its_line(text: str | bytes, line: int | None, problem: str) -> None:
    with pytest.raises(yaml_text.YamlError) as caught:
        yaml_text.parse(text)
    assert problem in str(caught.value)
    assert caught.value.line == line


def test_merged_keys_give_way_to_own_ones_and_aliases_are_copies() -> None:
    data = yaml_text.parse("a: &a {x: 1, y: 1}\nb: &b {<<: *a, y: 2}\nc: {<<: [*b, *a], z: 3}\nd: *a\n'<<': 4\n")

    assert data == {"a": {"x": 1, "y": 1}, "b": {"x": 1, "y": 2}, "c": {"x": 1, "y": 2, "z": 3}, "d": {"x": 1, "y": 1}, "<<": 4}
    assert override(data, ["a.x=9"])["d"] == {"x": 1, "y": 1}


BOMBS = {
    "aliases": "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)),
    "merged keys": "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [{','.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 12)),
    "brackets": "a: " + "[" * 10_000,
    "braces": "a: " + "{x: " * 10_000,
    "dashes": "- " * 10_000,
    "question marks": "? " * 10_000,
    "indents": "".join(f"{' ' * i}a:\n" for i in range(1000)),
    "a long list": "a: [" + "1," * 400_000 + "]",
    "a long scalar": "a: '" + "x" * 900_000 + "'",
    "a comment": "#" * 900_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_defused_at_once_in_little_memory(name: str, tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(BOMBS[name])
    script = (
        "import resource, sys, time; from beam_jobs.config import read_yaml; from beam_jobs.errors import UserError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF)\n"
        "try: read_yaml(sys.argv[1]); print('read')\n"
        "except UserError as error: print(error)\n"
        "after = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print(after.ru_utime - before.ru_utime, (after.ru_maxrss - before.ru_maxrss) / 1024)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True, timeout=60)
    verdict, figures = done.stdout.splitlines()
    seconds, megabytes = map(float, figures.split())

    assert (verdict == "read") == (name == "a long scalar"), verdict
    assert seconds < 5
    assert megabytes < 100


def read_error(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_yaml(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_of_a_gigabyte(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()

    assert read_error(path).startswith(f"{path}: larger than 1,000,000 bytes; give a configuration file")
    assert time.monotonic() - started < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_what_is_no_ordinary_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    assert "pipe: a named pipe, not a file; give a configuration file" in read_error(tmp_path / "pipe")
    assert "/dev/zero: a device, not a file" in read_error(Path("/dev/zero"))
    assert f"{tmp_path}: Is a directory" in read_error(tmp_path)
    assert "null" in read_error(Path("a\0b"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_files_of_windows_are_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "my.yaml"
    path.write_bytes("a: ü\r\nb: 1e-4\r\n".encode(encoding))

    assert read_yaml(path) == {"a": "ü", "b": 1e-4}
