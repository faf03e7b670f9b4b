# SPDX-License-Identifier: Apache-2.0
"""A dataset's description in Croissant, read by MLCommons' own library and by nothing of ours."""

import csv
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import call_here, only_line

from beam_jobs.config import ClipsConfig
from beam_jobs.corpus.index import SpeakerIndex
from beam_jobs.generate_clips import generate_clips


@pytest.fixture(scope="module")
def dataset(index: SpeakerIndex, make_config: Callable[..., ClipsConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mlcroissant", reason="needs mlcroissant: make setup-dev")
    folder = tmp_path_factory.mktemp("croissant") / "clips"
    generate_clips(make_config(), index, str(folder))
    call_here("clips", "describe", folder, "--croissant", folder / "croissant.json")
    return folder


def test_mlcroissant_reads_every_clip(dataset: Path) -> None:
    import mlcroissant

    described = mlcroissant.Dataset(jsonld=str(dataset / "croissant.json"))
    found = [
        {key.removeprefix("clips/"): value.decode() if isinstance(value, bytes) else value for key, value in record.items()}
        for record in described.records("clips")
    ]

    with (dataset / "clips.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in found] == [row["id"] for row in rows]
    assert [row["label"] for row in found] == [row["label"] for row in rows]
    assert [row["speech_ratio"] for row in found] == [float(row["speech_ratio"]) for row in rows]


def test_every_file_is_named_with_its_checksum(dataset: Path) -> None:
    files = {item["contentUrl"]: item["sha256"] for item in json.loads((dataset / "croissant.json").read_text())["distribution"]}

    assert files == {
        path.relative_to(dataset).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in [*dataset.rglob("*.tfrecord"), dataset / "clips.csv"]
    }


def test_where_it_belongs_is_said_where_it_is_not_there(dataset: Path, tmp_path: Path) -> None:
    inside = call_here("clips", "describe", dataset, "--croissant", dataset / "again.json")
    elsewhere = call_here("clips", "describe", dataset, "--croissant", tmp_path / "there.json")

    assert inside.stderr == ""
    assert f"put {tmp_path / 'there.json'} into {dataset}" in elsewhere.stderr.replace("\n", " ")


def test_a_folder_that_is_no_dataset(tmp_path: Path) -> None:
    pytest.importorskip("mlcroissant", reason="needs mlcroissant: make setup-dev")
    done = call_here("clips", "describe", tmp_path, "--croissant", tmp_path / "x.json")

    assert done.returncode == 2
    assert "not a dataset" in only_line(done)
    assert not (tmp_path / "x.json").exists()
