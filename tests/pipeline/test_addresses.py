# SPDX-License-Identifier: Apache-2.0
"""Addresses such as `s3://…` where a path is expected: one line, and no local folder called `s3:`."""

from pathlib import Path

import pytest
from commands import CONFIG, call_here, only_line

NOTHING = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "c"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder; what a command would make of an address appears there."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


@pytest.mark.parametrize(
    "arguments",
    [
        "run --config c.yaml --workdir s3://b/w",
        "run --config s3://b/c.yaml",
        "run --config c.yaml --json s3://b/r.json",
        "runs --workdir s3://b/w",
        "review --workdir gs://b/w",
        "approve 1 --by me --workdir s3://b/w",
        "reject 1 --by me --note no --workdir s3://b/w",
        "rollback --workdir s3://b/w",
        "serve --serving s3://b/m",
        "corpus synth s3://b/c",
        "corpus fetch dev-clean --dest s3://b/c",
        "corpus info . --json s3://b/i.json",
        "corpus listen . --html s3://b/i.html",
        "clips inspect . --html file:///tmp/i.html",
        "compile --config c.yaml --image a@b -o s3://b/p.yaml",
        "submit s3://b/p.yaml",
    ],
)
def test_what_must_be_on_this_machine_says_so(folder, arguments):
    words = arguments.split()
    address = next(word for word in words if "://" in word)
    line = only_line(call_here(*words))
    assert line == f"{address}: must be a path on this machine; give one that does not start with {address.split(':')[0]}://"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("address", ["foo://b/c", "file:///b/c", "hdfs://b/c"])
@pytest.mark.parametrize(
    "arguments", ["corpus info {}", "corpus listen {}", "clips inspect {}", "run --config ../c.yaml --corpus {}"]
)
def test_an_address_that_cannot_be_opened(folder, arguments, address):
    (folder.parent / "c.yaml").write_text(CONFIG)
    line = only_line(call_here(*arguments.format(address).split()))
    assert f"{address.split(':')[0]}:// cannot be opened here" in line


def test_an_output_that_cannot_be_opened(folder, corpus):
    (folder.parent / "c.yaml").write_text(CONFIG)
    line = only_line(call_here("clips", "generate", "--config", "../c.yaml", "--corpus", corpus, "--output", "foo://b/c"))
    assert line.startswith("foo://b/c: foo:// cannot be opened here")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "arguments", ["corpus info {}", "corpus listen {}", "clips inspect {}", "run --config ../c.yaml --corpus {}"]
)
def test_a_store_that_does_not_answer(folder, arguments):
    (folder.parent / "c.yaml").write_text(CONFIG)
    line = only_line(call_here(*arguments.format("s3://b/c").split(), **NOTHING))
    assert line.startswith("s3://b/c: Could not connect to the endpoint URL")
    assert not (folder / "s3:").exists()
