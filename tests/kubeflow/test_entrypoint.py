# SPDX-License-Identifier: Apache-2.0
"""The entrypoint of steps, with what Kubeflow's driver and launcher hand to it."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from commands import open_to_all

from pipeline.kubeflow.entrypoint import main
from pipeline.kubeflow.uris import local_path, remote_uri

ROOT = Path(__file__).parents[2]
EXAMPLES = "title: tfx.Examples\ntype: object\n"
TYPES = {float: "NUMBER_INTEGER", str: "STRING"}
OUT = "minio://bucket/run/Node/4f1c"


@pytest.fixture
def container(tmp_path, monkeypatch):
    """A folder that stands for a container's `/`."""
    monkeypatch.setenv("CONTAINER_ROOT", str(tmp_path))
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/termination-log").touch()
    new_task_folder(tmp_path)
    return tmp_path


def new_task_folder(container: Path) -> None:
    """What the launcher makes for a step's outputs."""
    shutil.rmtree(container / "minio", ignore_errors=True)
    output_file(container).parent.mkdir(parents=True)


def put(container: Path, uri: str, *names: str) -> None:
    """What the launcher downloads."""
    for name in names:
        path = container / uri.replace("://", "/") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def with_ml_metadata(uri: str, metadata: dict | None = None, name: str = "17") -> dict:
    """An input as the driver describes it out of ML Metadata: without a type, named by its id, lists and structs wrapped."""
    wrapped = {key: {WRAPPED[type(value)]: value} if type(value) in WRAPPED else value for key, value in (metadata or {}).items()}
    return {"artifacts": [{"name": name, "uri": uri, "type": {"instanceSchema": ""}, "metadata": wrapped}]}


def without_ml_metadata(uri: str, metadata: dict | None = None, name: str = "17") -> dict:
    """As the driver describes it out of Kubeflow's own tables: a type of Kubeflow's, the output's name, and an id beside it.

    kubeflow/pipelines, proposals/12147-mlmd-removal, branch mlmd-removal of 2026-07-31, backend/src/v2/driver/container.go.
    """
    described = {
        "name": "output",
        "artifactId": name,
        "uri": uri,
        "type": {"schemaTitle": "Artifact"},
        "metadata": metadata or {},
    }
    return {"artifacts": [described]}


WRAPPED: dict[type, str] = {list: "list", dict: "struct"}


@pytest.fixture(params=[with_ml_metadata, without_ml_metadata])
def artifact(request):
    """How an input is described, by both of Kubeflow's stores."""
    return request.param


def arguments(
    container: Path, executor: str, inputs: dict | None = None, output: str = "notes", **parameters: object
) -> list[str]:
    """The container's arguments, as compiled and with the driver's values."""
    schema = {"notes": "title: executors.Notes\ntype: object\n", "report": "title: system.HTML\ntype: object\n"}[output]
    made = {"name": output, "uri": f"{OUT}/{output}", "type": {"instanceSchema": schema}}
    # Of PUBLISH_LOGS, which Kubeflow's own manifests turn on (kubeflow/pipelines, backend/src/v2/driver, provisionOutputs).
    logs = {"name": "executor-logs", "uri": f"{OUT}/executor-logs", "type": {"schemaTitle": "system.Artifact"}}
    executor_input = {
        "inputs": {"artifacts": inputs or {}, "parameterValues": parameters},
        "outputs": {
            "artifacts": {output: {"artifacts": [made]}, "executor-logs": {"artifacts": [logs]}},
            "outputFile": str(output_file(container)),
        },
    }
    spec = {
        "artifacts": {name: {"artifactType": {"instanceSchema": EXAMPLES}} for name in inputs or {}},
        "parameters": {name: {"parameterType": TYPES[type(value)]} for name, value in parameters.items()},
    }
    names = ("executor_class_path", "json_serialized_invocation_args", "json_serialized_inputs_spec_args")
    values = (f"executors.{executor}", json.dumps(executor_input), json.dumps(spec))
    pairs = [part for name, value in zip(names, values, strict=True) for part in (f"--{name}", value)]
    return [*pairs, "--runner=DirectRunner", "--direct_running_mode=in_memory"]


def output_file(container: Path) -> Path:
    return container / "minio/bucket/run/Node/4f1c/output_metadata.json"


def made(container: Path, output: str = "notes") -> dict:
    """What the step wrote for the launcher about its output."""
    return json.loads(output_file(container).read_text())["artifacts"][output]["artifacts"][0]


def told(container: Path) -> dict:
    return json.loads((container / "minio/bucket/run/Node/4f1c/notes/told.json").read_text())


def run_process(container: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """The container's own command line."""
    command = [sys.executable, "-m", "pipeline.kubeflow.entrypoint", *arguments]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{Path(__file__).parent}", "CONTAINER_ROOT": str(container)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=300, **options)


def termination_log(container: Path) -> str:
    return (container / "dev/termination-log").read_text()


# URIs.


@pytest.mark.parametrize("scheme", ["minio", "s3"])
def test_artifacts_lie_where_the_launcher_mirrors_them_and_keep_their_uris(container, scheme, artifact):
    uri = f"{scheme}://bucket/other run/examples"
    put(container, uri, "clips.tfrecord")

    assert main(arguments(container, "Tell", {"examples": artifact(uri)})) == 0

    assert told(container)["examples"]["uri"] == str(container / scheme / "bucket/other run/examples")
    assert told(container)["examples"]["files"] == ["clips.tfrecord"]
    assert made(container)["uri"] == f"{OUT}/notes"
    assert made(container)["metadata"]["about"] == f"{uri}/Split-train"


def test_in_a_container_the_mirror_is_at_the_root_and_what_tensorflow_opens_stays(monkeypatch):
    monkeypatch.delenv("CONTAINER_ROOT", raising=False)

    paths = {"minio://b/k": "/minio/b/k", "s3://b/k": "/s3/b/k", "gs://b/k": "gs://b/k", "/serving/model": "/serving/model"}
    assert {uri: local_path(uri) for uri in paths} == paths
    assert {remote_uri(path) for path in paths.values()} == set(paths)


def test_a_dataset_uri_is_a_parameter_and_stays(container):
    assert main(arguments(container, "Tell", dataset_uri="s3://bucket/clips", num_clips=96.0)) == 0

    assert told(container)["parameters"] == {"dataset_uri": "s3://bucket/clips", "num_clips": 96}


# Types and metadata.


def test_inputs_get_the_types_that_kubeflow_loses_and_numbers_come_back_as_they_were(container, artifact):
    uri = "minio://bucket/examples"
    put(container, uri, "clips.tfrecord")
    metadata = {"span": 3.0, "split_names": "[]", "blessed": 1.0, "list": ["a"], "struct": {"b": "c"}}

    assert main(arguments(container, "Tell", {"examples": artifact(uri, metadata)})) == 0

    examples = told(container)["examples"]
    assert (examples["class"], examples["span"], examples["split_names"]) == ("Examples", 3, "[]")
    assert (examples["blessed"], examples["list"], examples["struct"]) == (1, ["a"], {"b": "c"})


def test_metadata_that_kubeflow_cannot_store_is_left_out_and_ids_are_kubeflows(container, artifact):
    uri = "minio://bucket/examples"
    put(container, uri, "clips.tfrecord")

    assert main(arguments(container, "Tell", {"examples": artifact(uri, name="17")})) == 0

    metadata = made(container)["metadata"]
    assert "nothing" not in metadata
    assert (metadata["blessed"], metadata["about_id"], metadata["num_files"]) == (1, "17", 1)


def test_a_report_is_one_file_of_the_type_that_kubeflow_shows(container):
    assert main(arguments(container, "Report", output="report")) == 0

    assert (container / "minio/bucket/run/Node/4f1c/report").read_text() == "<p>page</p>"
    assert made(container, "report")["uri"] == f"{OUT}/report"
    assert made(container, "report")["metadata"]["display_name"] == "review report"


def test_two_inputs_of_the_same_name_are_two_artifacts(container):
    for folder in ("candidate", "baseline"):
        put(container, f"minio://bucket/{folder}", "saved_model.pb")
    inputs = {name: without_ml_metadata(f"minio://bucket/{name}", name=f"id-of-{name}") for name in ("candidate", "baseline")}

    assert main(arguments(container, "Ids", inputs)) == 0

    assert {key: value for key, value in made(container)["metadata"].items() if key.endswith("_id")} == {
        "candidate_id": "id-of-candidate",
        "baseline_id": "id-of-baseline",
    }


def test_an_output_that_a_step_leaves_out_is_an_empty_folder(container):
    assert main(arguments(container, "Silent")) == 0

    assert list((container / "minio/bucket/run/Node/4f1c/notes").iterdir()) == []


# What an object store loses.


def test_an_empty_folder_is_empty_in_the_next_step_too(container, artifact):
    assert main(arguments(container, "Empty")) == 0
    metadata = made(container)["metadata"]
    assert metadata["num_files"] == 0
    new_task_folder(container)

    assert main(arguments(container, "Tell", {"examples": artifact("minio://bucket/nothing", metadata)})) == 0
    assert told(container)["examples"]["files"] == []


@pytest.mark.parametrize("left", [0, 2])
def test_files_of_an_input_that_are_gone_are_one_line_with_what_to_do(container, capsys, left, artifact):
    uri = "minio://bucket/examples"
    put(container, uri, *["a", "folder/b"][:left])

    assert main(arguments(container, "Tell", {"examples": artifact(uri, {"num_files": 3.0})})) == 2

    line = capsys.readouterr().err.splitlines()[-1]
    assert line == (
        f"input examples: only {left} of 3 files are left at {uri}; "
        "the others were deleted from the object store: start the run again without the cache"
    )
    assert termination_log(container) == line


# Failures, as a pod's log shows them.


def test_a_users_mistake_is_the_last_line_of_the_log_and_status_2(container):
    done = run_process(container, *arguments(container, "Refuse"))

    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "s3://bucket/clips: not a dataset; make one"
    assert "Traceback" not in done.stderr
    assert termination_log(container) == "s3://bucket/clips: not a dataset; make one"


def test_arguments_of_the_process_are_none_of_an_executors(container, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["entrypoint", "-v"])

    assert main(arguments(container, "Refuse")) == 2
    assert termination_log(container) == "s3://bucket/clips: not a dataset; make one"


def test_a_bug_keeps_its_traceback_and_kubernetes_shows_what_it_is(container):
    with pytest.raises(KeyError):
        main(arguments(container, "Break"))

    assert termination_log(container) == "KeyError: 'no such thing'"


@pytest.mark.parametrize("by", ["python", "tensorflow", "beam"])
def test_a_full_disk_is_one_line_with_what_to_do(container, capsys, by):
    assert main(arguments(container, "FillDisk", by=by)) == 2

    line = capsys.readouterr().err.splitlines()[-1]
    remedy = "give the step more storage, set data.scratch_gb lower, or generate fewer clips"
    assert re.fullmatch(rf"(/dev/full|a file): No space left on device; {remedy}", line)
    assert termination_log(container) == line


@pytest.mark.skipif(
    os.geteuid() == 0 and not open_to_all(ROOT), reason="root becomes another user, who cannot come to this folder"
)
def test_a_folder_that_may_not_be_read_is_one_line_with_what_to_do(artifact):
    uri = "minio://bucket/examples"
    # pytest's own folders are for their owner only, and root, who may be the one, may read everything.
    other = {"user": 65534, "group": 65534} if os.getuid() == 0 else {}
    with tempfile.TemporaryDirectory() as folder:
        container = Path(folder)
        container.chmod(0o755)
        put(container, uri, "clips.tfrecord")
        (container / "minio/bucket/examples").chmod(0)

        done = run_process(container, *arguments(container, "Tell", {"examples": artifact(uri, {"num_files": 1.0})}), **other)

        (container / "minio/bucket/examples").chmod(0o755)
    assert done.returncode == 2
    line = done.stderr.splitlines()[-1]
    assert line.startswith(
        f"{container}/minio/bucket/examples: Permission denied; user 1000 must be able to read and write there"
    )


def test_without_kubernetes_there_is_no_termination_log_to_write(container, capsys):
    (container / "dev/termination-log").unlink()

    assert main(arguments(container, "Refuse")) == 2

    assert capsys.readouterr().err.splitlines()[-1] == "s3://bucket/clips: not a dataset; make one"
    assert not (container / "dev/termination-log").exists()


def test_a_step_s_keras_is_tf_keras():
    """TFX's entrypoint imports TensorFlow: whoever says after that which Keras it is to be is not heard."""
    code = "import pipeline.kubeflow.entrypoint, tensorflow as tf; print(tf.keras.layers.Layer.__module__)"
    clean = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    done = subprocess.run([sys.executable, "-c", code], env=clean, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.stdout.startswith("tf_keras."), done.stderr[-2000:]
