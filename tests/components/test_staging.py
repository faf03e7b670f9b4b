# SPDX-License-Identifier: Apache-2.0
"""Artifacts by way of `--temp_location`, here a folder that workers share; `tests/flink` does it with an object store."""

from pathlib import Path

import pytest
from tfx.types import Artifact, standard_artifacts

from beam_jobs.errors import UserError
from components.staging import staged


@pytest.fixture
def examples(tmp_path: Path) -> Artifact:
    """An input with a file in a folder of its own."""
    artifact = standard_artifacts.Examples()
    artifact.uri = str(tmp_path / "examples")
    (tmp_path / "examples/Split-train").mkdir(parents=True)
    (tmp_path / "examples/Split-train/clips").write_bytes(b"clips")
    return artifact


@pytest.fixture
def statistics(tmp_path: Path) -> Artifact:
    """An output that is not there yet."""
    artifact = standard_artifacts.ExampleStatistics()
    artifact.uri = str(tmp_path / "statistics")
    return artifact


def test_without_a_temporary_location_artifacts_are_used_where_they_lie(examples, statistics):
    before = examples.uri, statistics.uri
    with staged(["--runner=DirectRunner"], [examples], [statistics]) as place:
        assert place is None
        assert (examples.uri, statistics.uri) == before


def test_what_a_killed_attempt_left_is_removed(examples, statistics):
    left = Path(statistics.uri) / "beam-temp-FeatureStats.pb" / "half"
    left.parent.mkdir(parents=True)
    left.touch()
    with staged([], [examples], [statistics]):
        assert list(Path(statistics.uri).iterdir()) == []


def test_workers_elsewhere_need_one(examples, statistics):
    with (
        pytest.raises(UserError, match=r"^beam\.pipeline has --runner=FlinkRunner and no --temp_location; add one"),
        staged(["--runner=FlinkRunner"], [examples], [statistics]),
    ):
        pass


def test_workers_find_inputs_in_the_temporary_location_and_outputs_come_back(examples, statistics, tmp_path):
    shared, before = tmp_path / "shared", (examples.uri, statistics.uri)
    with staged([f"--temp_location={shared}"], [examples], [statistics]) as place:
        assert place is not None and Path(place).is_relative_to(shared)
        assert Path(examples.uri).is_relative_to(place)
        assert (Path(examples.uri) / "Split-train/clips").read_bytes() == b"clips"
        (Path(statistics.uri) / "Split-train").mkdir(parents=True)
        (Path(statistics.uri) / "Split-train/FeatureStats.pb").write_bytes(b"figures")

    assert (examples.uri, statistics.uri) == before
    assert (Path(statistics.uri) / "Split-train/FeatureStats.pb").read_bytes() == b"figures"
    assert list(shared.iterdir()) == []


def test_a_step_that_fails_leaves_nothing_there_and_no_half_of_an_output(examples, statistics, tmp_path):
    shared, before = tmp_path / "shared", (examples.uri, statistics.uri)

    def fail() -> None:
        with staged([f"--temp_location={shared}"], [examples], [statistics]):
            Path(statistics.uri).mkdir(parents=True)
            (Path(statistics.uri) / "half").write_bytes(b"")
            raise OSError("a worker was lost")

    with pytest.raises(OSError, match="a worker was lost"):
        fail()
    assert (examples.uri, statistics.uri) == before
    assert list(Path(statistics.uri).iterdir()) == []
    assert list(shared.iterdir()) == []
