# SPDX-License-Identifier: Apache-2.0
"""The runbook of docs/kubernetes.md, as an operator types it, on a real node; and what holds between its blocks."""

import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from node_cluster import NODE, Cluster
from runbook import Terminal, as_run_here, blocks, instead
from volumes import add_volume

from components.clip_example_gen.note import CHECKED_FILE
from components.pusher.serving_folder import read_provenance

pytestmark = pytest.mark.skipif(
    os.environ.get("RUN_NODE") != "1", reason="needs root, containerd, buildah, runc, Go and most of an hour: make test-node"
)
TIMEOUT_S = 3600
BLOCKS = blocks()
FORWARDS = [line for _, commands in BLOCKS for line in commands.splitlines() if "port-forward" in line]
STORE = "AWS_DEFAULT_REGION=us-east-1 aws --endpoint-url http://localhost:8333"
SERVER, CLIENT = "app.kubernetes.io/component=model-server", "--labels=audio-gender/client=true"
COMPILE = ".venv/bin/audio-gender compile --config k8s/overlays/local/config.yaml --image audio-gender:local --allow-tag -o"
ASK = """\
kubectl -n kubeflow run {name} --rm --stdin --restart=Never --image=audio-gender:local {labels} --command -- \
  timeout 60 python -c "import sys, urllib.request as http; url = 'http://audio-gender-serving:8501/analyse?name=voice.flac'
print(http.urlopen(url, sys.stdin.buffer.read(), timeout=20).read().decode())" < "$recording\""""


@pytest.fixture(scope="module")
def volumes(cluster: Cluster) -> dict[str, Path]:
    names = ("audio-gender-serving", "audio-gender-training", "seaweedfs")
    folders = {name: add_volume(cluster, name) for name in names}
    for name in ("objects/mlpipeline", "metadata"):
        (folders["seaweedfs"] / name).mkdir(parents=True)
    return folders


@pytest.fixture(scope="module")
def terminal(cluster: Cluster, volumes: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    terminal = Terminal(cluster, tmp_path_factory.mktemp("checkout"))
    yield terminal
    terminal.close()


def files(datasets: Path) -> dict[Path, bytes]:
    """What lies below the folder of datasets, but for what a run notes about its check."""
    found = [path for path in datasets.rglob("*.*") if path.name != CHECKED_FILE]
    return {path.relative_to(datasets): path.read_bytes() for path in found}


def run_block(terminal: Terminal, number: int) -> str:
    return terminal.run(as_run_here(BLOCKS[number - 1][1]), TIMEOUT_S)


def forward_again(terminal: Terminal) -> None:
    """What an operator does where `kubectl port-forward` has lost its pod, or the kubelet: types it until it holds.

    A kubelet that has just started refuses first, and then does not know its pods yet; the node is Ready all along.
    """
    ports = re.findall(r" (\d+):\d+ ", " ".join(FORWARDS))
    assert len(ports) == len(FORWARDS)
    for _ in range(30):
        terminal.run("\n".join(["kill $forwards && wait || true", *FORWARDS, "sleep 3"]), 60)
        if all(is_open(int(port)) for port in ports):
            return
    pytest.fail(f"no way to {ports} after 30 times")


def is_open(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


def versions(volumes: dict[str, Path]) -> list[str]:
    return sorted(path.name for path in (volumes["audio-gender-serving"] / "audio-gender").glob("[0-9]*"))


def test_the_page_has_all_lines_that_something_else_is_run_for() -> None:
    page = "\n".join(commands for _, commands in BLOCKS)

    assert len(BLOCKS) == 8
    assert [line for line in instead() if line not in page] == []


def test_a_pod_of_the_image_runs(cluster: Cluster) -> None:
    cluster.kubectl("run", "help", "--image=audio-gender:local", "--restart=Never", "--", "audio-gender", "--help")
    cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/help", "--timeout=120s", timeout_s=130)

    assert "Usage: audio-gender" in cluster.kubectl("logs", "help")


def test_names_are_resolved(cluster: Cluster) -> None:
    lookup = "import socket; print(socket.gethostbyname('kube-dns.kube-system.svc.cluster.local'))"
    command = ["--image=audio-gender:local", "--restart=Never", "--command", "--", "python", "-c", lookup]
    cluster.kubectl("run", "lookup", *command)
    cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/lookup", "--timeout=120s", timeout_s=130)

    assert cluster.kubectl("logs", "lookup").strip() == "10.96.0.10"


def test_kubeflow_and_objects(terminal: Terminal, cluster: Cluster) -> None:
    for number in (1, 2, 3):
        run_block(terminal, number)

    (pod,) = cluster.get("pods", "-n", "kubeflow", "-l", "app.kubernetes.io/component=model-server")["items"]
    assert pod["status"]["phase"] == "Pending"  # nothing is pushed
    # However long the first run takes, this is no failed rollout: Kubernetes judges progress only where there is a deadline.
    server = cluster.get("deployment/audio-gender-serving", "-n", "kubeflow")
    assert [one["type"] for one in server["status"]["conditions"]] == ["Available"]


def test_corpus(terminal: Terminal, volumes: dict[str, Path]) -> None:
    run_block(terminal, 4)

    assert (volumes["seaweedfs"] / "objects/mlpipeline/audio-gender/corpus/speaker_index.json").exists()


def test_run(terminal: Terminal, volumes: dict[str, Path], cluster: Cluster) -> None:
    printed = run_block(terminal, 5)

    assert "Succeeded: run" in printed
    assert len(versions(volumes)) == 1
    pods = cluster.get("pods", "-n", "kubeflow", "-l", "pipeline/runid")["items"]
    assert len(pods) > 14


def test_prediction(terminal: Terminal, volumes: dict[str, Path]) -> None:
    printed = run_block(terminal, 6)

    answers = re.findall(r'\{"version".+\]\}', printed)
    assert len(answers) == 2, printed
    assert json.loads(answers[0]) == json.loads(answers[1])
    assert json.loads(answers[0])["version"] in versions(volumes)


def test_a_pod_without_the_label_gets_no_prediction(terminal: Terminal) -> None:
    printed = terminal.run(ASK.format(name="stranger", labels="") + " || echo refused with $?", 300)

    assert "refused with 1" in printed
    assert "timed out" in printed


def test_the_model_server_comes_back_after_a_drain(terminal: Terminal, cluster: Cluster) -> None:
    drain = ["--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=180s"]
    cluster.kubectl("drain", NODE, *drain, timeout_s=200)
    pods = cluster.get("pods", "-n", "kubeflow", "-l", SERVER)["items"]
    assert not any(pod["status"]["phase"] == "Running" for pod in pods)

    cluster.kubectl("uncordon", NODE)
    terminal.run("kubectl -n kubeflow wait --for condition=Available --timeout=5m deployment --all", 310)
    forward_again(terminal)

    assert '"label"' in terminal.run(ASK.format(name="after-drain", labels=CLIENT), 300)


def test_pods_outlive_the_kubelet_and_containerd(terminal: Terminal, cluster: Cluster) -> None:
    (before,) = cluster.get("pods", "-n", "kubeflow", "-l", SERVER)["items"]

    for program in ("kubelet", "containerd"):
        cluster.processes.kill(program)
    cluster.start_containerd()
    cluster.start_kubelet()
    forward_again(terminal)

    assert '"label"' in terminal.run(ASK.format(name="after-restart", labels=CLIENT), 300)
    (after,) = cluster.get("pods", "-n", "kubeflow", "-l", SERVER)["items"]
    assert after["status"]["containerStatuses"] == before["status"]["containerStatuses"]


def test_clips_job_makes_the_same_dataset_again(terminal: Terminal, volumes: dict[str, Path]) -> None:
    dataset = volumes["seaweedfs"] / "objects/mlpipeline/audio-gender/clips"
    before = files(dataset)
    terminal.run(f"{STORE} s3 rm --quiet --recursive s3://mlpipeline/audio-gender/clips", 300)
    assert not files(dataset)

    terminal.run("kubectl -n kubeflow create job --from=cronjob/audio-gender-clips clips-1", 60)
    terminal.run("kubectl -n kubeflow wait --for=condition=Complete --timeout=20m job/clips-1", 1260)

    assert len([path for path in before if path.suffix == ".tfrecord"]) == 14
    assert files(dataset) == before


def test_retraining_and_rollback(terminal: Terminal, volumes: dict[str, Path]) -> None:
    (first,) = versions(volumes)

    run_block(terminal, 7)

    assert len(versions(volumes)) == 3
    newest = versions(volumes)[-1]
    made = read_provenance(volumes["audio-gender-serving"] / "audio-gender", int(newest))
    assert made
    assert (made.action, made.by, made.rolled_back_to, made.model_version) == ("rolled back", "tests", int(first), int(first))
    ask = "curl --silent --data-binary @$recording 'localhost:8501/analyse?name=voice.flac'"
    terminal.run(f'until {ask} | grep \'"version": *"{newest}"\'; do sleep 2; done', 300)


def test_training_on_two_workers_of_which_one_is_killed(terminal: Terminal, cluster: Cluster) -> None:
    workers = "--set train.strategy=multi_worker --set train.num_workers=2"
    terminal.run(f"{COMPILE} workers.yaml {workers}", 300)
    printed = terminal.run(".venv/bin/audio-gender submit workers.yaml --detach", 300)
    (run_id,) = set(re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", printed))
    of_run = ("-n", "kubeflow", "-l", "app.kubernetes.io/component=training-worker")
    logs = f"kubectl logs {' '.join(of_run)} --tail=-1 2>/dev/null"
    terminal.run(f"until {logs} | grep --quiet 'epoch 2/'; do sleep 2; done", TIMEOUT_S)
    # On a busy machine they may have lost each other and been started again already.
    running = cluster.get("pods", *of_run, "--field-selector=status.phase=Running")["items"]
    chief, victim = sorted(pod["metadata"]["name"] for pod in running)
    assert "-0-" in chief
    assert "-1-" in victim
    cluster.kubectl("-n", "kubeflow", "delete", "pod", victim, "--grace-period=0", "--force")
    followed = terminal.run(f".venv/bin/audio-gender submit --run {run_id}", TIMEOUT_S)

    assert "Succeeded: run" in followed
    trainer = ("-n", "kubeflow", "-l", f"pipeline/runid={run_id},app.kubernetes.io/component=trainer")
    assert "training goes on from epoch" in cluster.kubectl("logs", *trainer, "-c", "main", "--tail=-1")
    assert cluster.get("jobs,pods", *of_run)["items"] == []


def failure(terminal: Terminal, package: str, *settings: str, **parameters: str) -> tuple[str, str]:
    """A run that fails: what `submit` prints of it, and what each `kubectl describe` that it names does, each as one line."""
    terminal.run(" ".join([COMPILE, package, *(f"--set '{setting}'" for setting in settings)]), 300)
    given = " ".join(f"--set {name}={value}" for name, value in parameters.items())
    printed = terminal.run(f".venv/bin/audio-gender submit {package} {given} || echo exit status $?", TIMEOUT_S)
    said = " ".join(printed.split())
    assert "Failed: run" in said
    assert said.endswith("exit status 1")
    described = [terminal.run(command, 60) for command in re.findall(r"details of its pod: `(kubectl describe .+?)`", said)]
    return said, " ".join("".join(described).split())


def test_a_missing_dataset(terminal: Terminal) -> None:
    folder = "s3://mlpipeline/audio-gender/none"

    for text in failure(terminal, "none.yaml", corpus_uri="", dataset_uri=folder):
        assert f"{folder}: not a dataset (dataset_info.json is missing); make one with" in text


def test_a_store_that_refuses(terminal: Terminal) -> None:
    terminal.run("kubectl -n kubeflow create secret generic wrong --from-literal=id=minio --from-literal=key=wrong", 60)
    wrong = "{AWS_ACCESS_KEY_ID: {secret: wrong, key: id}, AWS_SECRET_ACCESS_KEY: {secret: wrong, key: key}}"

    for text in failure(terminal, "refused.yaml", f"kubernetes.secret_env={wrong}"):
        assert "the object store refuses (HTTP status 403); check AWS_ACCESS_KEY_ID" in text


def test_a_step_that_runs_out_of_memory(terminal: Terminal) -> None:
    _, described = failure(terminal, "small.yaml", "kubernetes.steps.ClipGenerator={memory: 150Mi}")

    assert "Reason: OOMKilled" in described


def test_a_step_whose_secret_is_missing(terminal: Terminal, cluster: Cluster) -> None:
    absent = "{AWS_ACCESS_KEY_ID: {secret: absent, key: id}, AWS_SECRET_ACCESS_KEY: {secret: absent, key: key}}"
    terminal.run(f"{COMPILE} absent.yaml --set 'kubernetes.secret_env={absent}'", 300)

    printed = terminal.run("timeout --signal=INT 240 .venv/bin/audio-gender submit absent.yaml || true", 300)

    said = " ".join(printed.split())
    assert re.search('ClipGenerator is waiting for its pod to start: .*secret "absent" not found', said)
    (run_id,) = set(re.findall("the run goes on; follow it again: .+--run ([0-9a-f-]{36})", said))
    cluster.kubectl("-n", "kubeflow", "delete", "workflow", f"run-{run_id}")


def test_taking_it_away(terminal: Terminal, cluster: Cluster) -> None:
    run_block(terminal, 8)

    left = cluster.get("all,pvc,networkpolicies", "-n", "kubeflow", "-l", "app.kubernetes.io/part-of=audio-gender")["items"]
    assert [thing["metadata"]["name"] for thing in left] == []
