# SPDX-License-Identifier: Apache-2.0
"""The compiled demo, every step as a process with what Kubeflow would give it."""

import json
import re
from pathlib import Path

import pytest
import yaml
from launcher import LOGS, KubeflowError

from components.run_config import config_digest

COMPARED = {"ServingBaseline", "Evaluator", "Robustness", "ServingCheck", "Gate", "ReviewReport", "Pusher"}
NOT_CACHED = {"ClipGenerator", "ServingBaseline", "ReviewReport", "Pusher"}
PERFECT_MODEL = "gate.overall={min_accuracy: 1, min_auc: 1, min_recall: 1, max_ece: 0}"


def gate_of(walk, run):
    """What the gate of a run found."""
    return json.loads((walk.cluster.kubeflow.store.path(run.steps["Gate"].outputs["blessing"].uri) / "gate.json").read_text())


def pushed(run):
    return run.steps["Pusher"].outputs["pushed_model"].metadata


def metadata_of(run):
    return [artifact.metadata for step in run.steps.values() for artifact in step.outputs.values()]


# The demo.


def test_every_step_succeeds(walk):
    failed = {name: step.log[-3000:] for name, step in walk.run.steps.items() if step.state != "succeeded"}

    assert failed == {}
    assert set(walk.run.steps) == set(next(yaml.safe_load_all(walk.compiled))["root"]["dag"]["tasks"])


def test_the_model_is_in_serving_with_the_run_that_made_it(walk):
    version = pushed(walk.run)["pushed_version"]
    folder = walk.cluster.serving / version

    assert pushed(walk.run)["pushed"] == 1
    assert (folder / "saved_model.pb").is_file()
    assert [path.name for path in walk.cluster.serving.iterdir() if path.name.isdigit()] == [version]
    provenance = json.loads(next(folder.rglob("provenance.json")).read_text())
    assert (provenance["run_id"], provenance["action"], provenance["blessed"]) == (walk.run.id, "pushed", True)
    given = walk.cluster.parameters
    assert provenance["config"]["kubernetes"]["corpus_uri"] == given["corpus_uri"]
    dataset = Path(provenance["config"]["kubernetes"]["dataset_uri"])  # the run's own, in the folder of datasets
    assert str(dataset.parent) == given["dataset_uri"] and (dataset / "dataset_info.json").exists()
    assert provenance["config_digest"] == config_digest(provenance["config"])


def test_each_step_that_decides_says_so_in_one_line_of_its_log(walk):
    said = {
        node: [line for line in walk.run.steps[node].log.splitlines() if line.startswith("verdict: ")]
        for node in ("Gate", "Pusher")
    }

    assert said["Gate"] == ["verdict: blessed by the gate"]
    assert said["Pusher"] == [f"verdict: pushed as version {pushed(walk.run)['pushed_version']}"]


def test_the_figures_are_those_of_local_dag_runner(walk, local_result):
    expected = json.loads(next(Path(local_result["folders"]["pipeline_root"]).rglob("gate.json")).read_text())

    found = gate_of(walk, walk.run)

    # Each repeats itself bit for bit. Between a process for all nodes and one for each, the last bits of float32 differ.
    assert numbers(found) == pytest.approx(numbers(expected), abs=1e-6)
    assert len(numbers(found)) > 100
    assert (found["blessed"], found["classes"]) == (expected["blessed"], expected["classes"])


def numbers(value, key=""):
    """Every number of a JSON text, by where it is."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {name: number for part, inner in items for name, number in numbers(inner, f"{key}/{part}").items()}
    return {key: value} if isinstance(value, int | float) else {}


def test_no_container_knows_where_its_files_were(walk):
    outputs = [artifact for step in walk.run.steps.values() for artifact in step.outputs.values()]

    assert {artifact.uri.partition("/audio-gender/")[0] for artifact in outputs} == {"minio://mlpipeline"}
    assert [metadata for metadata in metadata_of(walk.run) if "/containers/" in json.dumps(metadata)] == []


def test_what_is_uploaded_is_what_steps_say_they_made(walk):
    store = walk.cluster.kubeflow.store
    for step in walk.run.steps.values():
        for name, artifact in step.outputs.items():
            if name == LOGS:  # the launcher's own
                continue
            path = store.path(artifact.uri)
            files = [path] if path.is_file() else [entry for entry in path.rglob("*") if entry.is_file()]
            assert len(files) == artifact.metadata["num_files"] > 0


def test_the_report_is_a_page_that_kubeflow_shows(walk):
    report = walk.run.steps["ReviewReport"].outputs["report"]

    page = walk.cluster.kubeflow.store.path(report.uri).read_text()
    assert page.startswith("<!doctype html>")
    assert f'<dd class="wrap">{walk.run.id}</dd>' in page
    assert f"audio-gender submit decision.yaml --set action=approve --set run_id={walk.run.id} --set by=NAME" in re.sub(
        "<[^>]+>", "", page
    )
    assert report.metadata["display_name"] == "review report"


# Other runs.


@pytest.fixture(scope="module")
def refused(walk, files_of):
    """A second run, with a gate that no model passes; and serving before it."""
    before = files_of(walk.cluster.serving)
    return walk.again(PERFECT_MODEL, only=set(walk.run.steps)), before


def test_the_same_clips_are_not_trained_on_again(walk, refused):
    run, _ = refused

    assert {name for name, state in run.states().items() if state == "succeeded"} == {"ClipGenerator", *COMPARED}
    assert set(run.states().values()) == {"succeeded", "cached"}
    assert "Trainer" not in COMPARED


def test_a_refused_model_leaves_serving_untouched(walk, refused, files_of):
    run, before = refused

    assert pushed(run)["pushed"] == 0
    assert run.steps["Gate"].outputs["blessing"].metadata["blessed"] == 0
    assert files_of(walk.cluster.serving) == before


def test_a_second_run_compares_with_the_model_that_the_first_one_pushed(walk, refused):
    run, _ = refused

    assert gate_of(walk, run)["baseline_version"] == pushed(walk.run)["pushed_version"]
    assert run.steps["Gate"].outputs["blessing"].metadata["baseline_model_id"] == str(
        run.steps["ServingBaseline"].outputs["model"].id
    )


def test_a_kubeflow_without_ml_metadata_makes_no_difference(walk):
    nodes = {"ServingBaseline", "StatisticsGen", "Evaluator", "ServingCheck", "Gate", "ReviewReport", "Pusher"}

    run = walk.again("gate.min_slice_clips=5", only=nodes, ml_metadata=False, push_mode="review")

    assert {name: step.log[-3000:] for name, step in run.steps.items() if step.state == "failed"} == {}
    assert pushed(run)["waiting"] == 1
    blessing = run.steps["Gate"].outputs["blessing"].metadata
    assert blessing["current_model_id"] == str(walk.run.steps["Trainer"].outputs["model"].id)
    assert blessing["baseline_model_id"] == str(run.steps["ServingBaseline"].outputs["model"].id)


def test_in_review_mode_the_model_waits_until_a_person_decides(walk, files_of):
    before = files_of(walk.cluster.serving)

    run = walk.again(only={"Pusher"}, push_mode="review")

    assert (pushed(run)["pushed"], pushed(run)["waiting"], pushed(run)["waiting_for"]) == (0, 1, "push.mode is review")
    added = {path for path, content in files_of(walk.cluster.serving).items() if before.get(path) != content}
    assert {path.partition("/model/")[0] for path in added} == {f".waiting/{run.id}", f".waiting/{run.id}/candidate.json"}

    # The walk found no model in serving, and pushed one since.
    hasty = decide(walk, action="approve", by="Ada", run_id=run.id)
    assert hasty.status == 2
    assert hasty.termination_message.startswith(f"run {run.id} was compared with version none, and version ")

    rejected = decide(walk, action="reject", by="Ada", run_id=run.id, note="worse by ear")
    assert (rejected.state, rejected.outputs["pushed_model"].metadata["pushed"]) == ("succeeded", 0)
    after = files_of(walk.cluster.serving)
    assert {name for name in after if after[name] != before.get(name)} == {".withdrawn.json"}  # so that no run pushes it again
    assert before.keys() <= after.keys()


def decide(walk, **parameters):
    """The one step of a run of the decision's pipeline."""
    return walk.cluster.kubeflow.run(walk.cluster.compile_decision(), parameters).steps["Decision"]


def test_a_push_mode_that_there_is_not_is_refused_before_anything_runs(walk):
    with pytest.raises(KubeflowError, match="push_mode: 'maybe' is none of"):
        walk.again(only={"Pusher"}, push_mode="maybe")


def test_compiled_anew_the_same_inputs_come_from_kubeflows_cache(walk):
    run = walk.again(only=set(walk.run.steps) - NOT_CACHED)

    assert set(run.states().values()) == {"cached"}
    assert [step.outputs for step in run.steps.values()] == [step.outputs for step in walk.run.steps.values()]


def test_a_run_of_other_clips_makes_a_dataset_of_its_own_and_keeps_the_one_of_before(walk):
    run = walk.again(only={"ClipGenerator", "ClipExampleGen"}, num_train_clips=36)

    assert {run.steps[node].state for node in ("ClipGenerator", "ClipExampleGen")} == {"succeeded"}
    first, other = (one.steps["ClipGenerator"].parameters["dataset"] for one in (walk.run, run))
    assert first != other and run.steps["ClipExampleGen"].outputs["clips"].metadata["dataset_uri"] == other
    assert (Path(first) / "dataset_info.json").exists()
    assert Path(first).name in run.steps["ClipGenerator"].log


def test_a_dataset_uri_that_holds_no_dataset_is_one_line_and_stops_the_run(walk, tmp_path):
    run = walk.again(only={"ClipGenerator"}, corpus_uri="", dataset_uri=f"{tmp_path}/nothing")

    step = run.steps["ClipGenerator"]
    assert (step.state, step.status) == ("failed", 2)
    line = step.log.splitlines()[-1]
    assert line.startswith(f"{tmp_path}/nothing: not a dataset (dataset_info.json is missing); ")
    assert step.termination_message == line
    assert "Traceback" not in step.log
    assert run.steps["Pusher"].state == "omitted"


def test_an_artifact_that_was_removed_from_the_object_store_is_one_line_and_stops_the_run(walk):
    evaluation = walk.run.steps["Evaluator"].outputs["evaluation"]
    file = walk.cluster.kubeflow.store.path(evaluation.uri) / "predictions" / "models.json"
    content = file.read_bytes()
    file.unlink()

    step = walk.again(PERFECT_MODEL, only={"Gate"}).steps["Gate"]

    file.write_bytes(content)
    assert (step.state, step.status) == ("failed", 2)
    assert step.termination_message.startswith(f"input evaluation: only 6 of 7 files are left at {evaluation.uri}; ")
