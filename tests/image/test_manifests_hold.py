# SPDX-License-Identifier: Apache-2.0
"""Every container of `k8s/` that runs the image: its command, user, rights, volumes and memory are those of its manifest."""

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml
from engine import REVISION
from oci import ROOT, pods

pytestmark = pytest.mark.skipif(
    os.environ.get("RUN_IMAGE") != "1", reason="needs root, buildah, runc, mmdebstrap and 6 minutes: make test-image"
)

TRIED = {"clips", "beam-workers", "compile", "submit", "wait-for-first-push", "model-server"}
# Beam's own job service in the container that submits, with the pool of the other container: as on Flink, without Flink.
BEAM = ["--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=EXTERNAL", "--environment_config=localhost:50000"]
WITHOUT_FLINK = f"beam.clips={json.dumps(BEAM)}"
FEW_CLIPS = ["--set=clips.num_clips={train: 24, eval: 6, test: 6}", "--set=clips.clips_per_shard=6"]


def test_every_container_of_the_image_is_tried_here():
    containers = [one for pod in pods() for one in [*pod.get("initContainers", []), *pod["containers"]]]

    assert {one["name"] for one in containers if one.get("image") == "audio-gender"} == TRIED


def test_the_clips_job_has_its_clips_made_by_the_pool_of_workers(container, speech, writable):
    out = writable("out")
    mounts = {"/corpus": speech, "/out": out}
    with container("beam-workers", mounts=mounts) as pool:
        pool.wait_until(lambda: pool.connects(50000))  # the manifest's probe
        job = container(
            "clips",
            [f"--set={WITHOUT_FLINK}", *FEW_CLIPS],
            mounts=mounts,
            environment={"CORPUS": "/corpus", "DATASET": "/out/clips"},
            network_of=pool,
        )
        with job:
            status, output = job.wait(300)
        started = pool.log.read_text()

    assert status == 0, output[-3000:]
    assert "Starting worker with command" in started
    from beam_jobs.corpus.readers import read_corpus
    from beam_jobs.generate_clips import generate_clips
    from pipeline.config import load_config

    settings = [option.removeprefix("--set=") for option in FEW_CLIPS]
    config = load_config(ROOT / "k8s/overlays/local/config.yaml", settings)
    here = generate_clips(
        config.clips,
        read_corpus(str(speech), config.corpus.subsets),
        str(out / "here"),
        ["--runner=DirectRunner", "--direct_running_mode=in_memory"],
    )
    (made,) = (out / "clips").glob("*/dataset_info.json")
    assert json.loads(made.read_text()) == json.loads((out / "here/dataset_info.json").read_text())
    assert here.counts["train"]


@pytest.fixture
def package(container, writable) -> Path:
    """What retraining's first container leaves for its second."""
    folder = writable("package")
    with container("compile", ["--image=example:local", "--allow-tag"], volumes={"package": folder}) as compiling:
        status, output = compiling.wait(300)
    assert status == 0, output[-3000:]
    return folder


def test_retraining_compiles_what_this_checkout_compiles_and_submits_it(container, package, monkeypatch):
    from pipeline.config import load_config
    from pipeline.kubeflow.compile import compile_pipeline

    compiled = (package / "pipeline.yaml").read_text()
    monkeypatch.setenv("CODE_REVISION", REVISION)
    here = compile_pipeline(load_config(ROOT / "k8s/overlays/local/config.yaml", ()), "example:local")
    assert list(yaml.safe_load_all(compiled)) == list(yaml.safe_load_all(here))

    token = package.parent / "token"
    token.mkdir()
    (token / "token").write_text("secret")
    submitting = container(
        "submit",
        volumes={"package": package, "pipelines-token": token},
        environment={"KFP_ENDPOINT": "http://127.0.0.1:8888", "NAMESPACE": "audio-gender"},
    )
    with submitting:
        status, output = submitting.wait(300)
    # There is no Kubeflow: it got as far as asking for one.
    assert (status, "Traceback" in output) == (2, False), output[-3000:]
    assert output.splitlines()[-1].startswith("error: http://127.0.0.1:8888: ")


def test_a_step_of_the_package_runs_by_its_own_command(run, package, writable):
    specification = next(yaml.safe_load_all((package / "pipeline.yaml").read_text()))
    step = specification["deploymentSpec"]["executors"]["ServingBaseline_executor"]["container"]
    declared = specification["components"]["ServingBaseline"]["outputDefinitions"]["artifacts"]
    uri = "minio://bucket/run/ServingBaseline"
    outputs = {
        name: {
            "artifacts": [
                {"name": name, "type": {"instanceSchema": one["artifactType"]["instanceSchema"]}, "uri": f"{uri}/{name}"}
            ]
        }
        for name, one in declared.items()
    }
    parameters = {"classes": '["male", "female"]', "serving_uri": "/serving/audio-gender", "version": ""}
    given = {
        "inputs": {"parameterValues": parameters},
        "outputs": {"artifacts": outputs, "outputFile": "/tmp/kfp/output.json"},
    }
    minio = writable("minio")
    (minio / "bucket/run/ServingBaseline").mkdir(parents=True)  # as Kubeflow's launcher does
    for folder in minio.rglob("*"):
        folder.chmod(0o777)
    command = [word.replace("{{$}}", json.dumps(given)) for word in [*step["command"], *step["args"]]]

    status, output = run(
        "sh",
        "-c",
        'mkdir /tmp/kfp && "$@" && cat /tmp/kfp/output.json',
        "sh",
        *command,
        memory=step["resources"]["resourceMemoryLimit"],
        mounts={"/minio": minio, "/serving": writable("serving")},
    )

    assert status == 0, output[-3000:]
    written = json.loads(output.splitlines()[-1])
    assert {name: listed["artifacts"][0]["uri"] for name, listed in written["artifacts"].items()} == {
        name: f"{uri}/{name}" for name in outputs
    }


def test_the_model_server_waits_for_the_first_push_and_answers(container, pushed, writable):
    serving = writable("serving")
    with container("wait-for-first-push", volumes={"serving": serving}) as waiting:
        waiting.wait_until(lambda: "waiting for the first push" in waiting.log.read_text())
        shutil.copytree(pushed, serving / "audio-gender")
        status, output = waiting.wait(60)
    assert (status, output.splitlines()[-1]) == (0, "no model in /serving/audio-gender yet: waiting for the first push")

    with container("model-server", volumes={"serving": serving}) as server:
        server.wait_until(lambda: server.connects(8501))
        server.wait_until(lambda: server.http("/v2/health/ready") is not None)
        recording = next((pushed.parent.parent / "speech").resolve().rglob("*.flac"))
        answer = json.loads(server.http("/analyse?name=voice.flac", recording.read_bytes()) or "{}")
    assert answer["label"] in ("female", "male", "uncertain")
