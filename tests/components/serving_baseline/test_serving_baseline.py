# SPDX-License-Identifier: Apache-2.0
"""The model in serving as a baseline: none, the newest, and what is no model of this pipeline."""

import json
import shutil
from pathlib import Path

import pytest

from beam_jobs.errors import UserError

CLASSES = ["male", "female"]


@pytest.fixture
def serving(tmp_path, saved_models):
    """A function that fills a serving folder: names of `saved_models` by version."""

    def fill(**versions: str) -> Path:
        folder = tmp_path / "serving"
        folder.mkdir(exist_ok=True)
        for version, model in versions.items():
            shutil.copytree(saved_models[model], folder / version.removeprefix("_"))
        return folder

    return fill


@pytest.fixture
def run(tmp_path):
    """A function that runs the component; returns the version that it found and the files of its model."""
    from tfx.types import standard_artifacts

    from components.serving_baseline.artifact import serving_version
    from components.serving_baseline.executor import Executor

    def baseline(folder: Path, version: str, classes=CLASSES):
        model = standard_artifacts.Model()
        model.uri = str(tmp_path / "baseline")
        parameters = {"serving_uri": str(folder), "version": version, "classes": json.dumps(classes)}
        Executor().Do({}, {"model": [model]}, parameters)
        return serving_version(model), {path.name for path in (tmp_path / "baseline").rglob("*.pb")}

    return baseline


def test_without_a_model_in_serving_there_is_an_empty_baseline(run, tmp_path, serving):
    assert run(tmp_path / "nowhere", "newest") == (None, set())
    assert run(serving(), "newest") == (None, set())
    assert run(serving(_5="trained"), "") == (None, set())


def test_the_evaluator_finds_the_baseline_and_its_absence(run, tmp_path, serving):
    from tfx.types import standard_artifacts

    from components.serving_baseline.artifact import baseline_path

    model = standard_artifacts.Model()
    model.uri = str(tmp_path / "baseline")
    run(serving(), "")
    assert baseline_path(model) is None
    shutil.rmtree(model.uri)
    run(serving(_5="trained"), "5")
    assert (Path(baseline_path(model)) / "saved_model.pb").exists()


def test_the_newest_is_looked_up_by_number(run, serving):
    folder = serving(_9="no signature", _10="trained")
    (folder / ".coming-11").mkdir()
    (folder / "notes.txt").write_text("no folder, no version")

    version, files = run(folder, "newest")
    assert version == "10"
    assert "saved_model.pb" in files


def test_a_named_version_is_taken_though_there_is_a_newer_one(run, serving):
    assert run(serving(_9="trained", _10="no signature"), "9")[0] == "9"


@pytest.mark.parametrize(
    ("versions", "message"),
    [
        ({"_9": "trained", "_10": "nothing"}, r"serving/10: holds no SavedModel; remove it from the serving folder, or restore"),
        ({"_10": "nothing"}, r"serving/10: holds no SavedModel; remove"),
        (
            {"v2": "trained"},
            r"serving/v2: looks like a version, and versions are numbers without leading zeros; rename",
        ),
        # TensorFlow Serving takes both for versions, and nothing else here does.
        ({"_0": "trained", "_10": "trained"}, r"serving/0: looks like a version"),
        ({"_007": "trained"}, r"serving/007: looks like a version"),
        ({"_10_old": "nothing"}, r"serving/10_old: looks like a version"),
        ({"backup": "trained"}, r"serving/backup: looks like a version"),
        ({"_10": "no signature"}, r"serving/10: the model has no signature serving_default, only other; remove"),
        ({"_10": "no classes"}, r"serving/10: the model does not name its classes; remove"),
        ({"_10": "reordered"}, r"serving/10: the model's classes are female, male, not male, female; remove"),
        ({"_10": "three classes"}, r"serving/10: the model's signature serving_default gives probabilities of shape \(None, 3\)"),
    ],
)
def test_what_is_no_model_of_this_pipeline_stops_the_run(run, serving, versions, message):
    with pytest.raises(UserError, match=message):
        run(serving(**versions), "newest")


def test_a_damaged_model_stops_the_run_with_one_line(run, serving):
    folder = serving(_10="trained")
    (folder / "10/saved_model.pb").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"serving/10: the SavedModel cannot be loaded \(") as error:
        run(folder, "newest")
    assert "\n" not in str(error.value)
