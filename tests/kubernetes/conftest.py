# SPDX-License-Identifier: Apache-2.0
"""A real Kubernetes control plane, started once."""

import os

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from api import Api, wait_until
from applying import apply
from control_plane import ControlPlane
from custom_resources import custom_resource_definitions
from kubelet import Kubelet, own_command
from kustomize_tool import render
from overlays import FOLDER
from training_run import NAMESPACE, Run


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """etcd, kube-apiserver and kube-controller-manager."""
    if not shutil.which("go"):
        pytest.skip("needs Go: no `go` on the PATH")
    folder = tmp_path_factory.mktemp("kubernetes")
    print(f"\nKubernetes' logs: {folder}")
    with ControlPlane(folder) as control_plane:
        yield control_plane


@pytest.fixture(scope="session")
def custom_resources(control_plane: ControlPlane) -> None:
    """What Flink's operator and KServe add to the API."""
    if not shutil.which("mvn"):
        pytest.skip("needs Maven: no `mvn` on the PATH")
    for definition in custom_resource_definitions():
        control_plane.admin.apply(definition)
        group, versions = definition["spec"]["group"], definition["spec"]["versions"]
        for path in [f"/apis/{group}/{version['name']}" for version in versions]:
            wait_until(lambda path=path: control_plane.admin.exists(path), f"{path} served")


@pytest.fixture(scope="session")
def node(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubelet]:
    with Kubelet(control_plane, tmp_path_factory.mktemp("pods")) as kubelet:
        yield kubelet


@pytest.fixture
def kubelet(node: Kubelet) -> Iterator[Kubelet]:
    """A node that runs what the pods say, until the test says otherwise."""
    yield node
    node.command, node.network = own_command, None


@pytest.fixture(scope="module")
def admin(control_plane: ControlPlane, custom_resources: None) -> Api:
    """The manifests of production are applied, and the profile has the account of its steps."""
    apply(control_plane.admin, render(FOLDER / "production"))
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default-editor", "namespace": NAMESPACE}}
    control_plane.admin.apply(account)
    return control_plane.admin


@pytest.fixture
def step_variables() -> dict[str, str]:
    """What the step has in its environment, and so its workers."""
    return {"WANDB_MODE": "offline"}


@pytest.fixture
def run(
    control_plane: ControlPlane,
    admin: Api,
    kubelet: Kubelet,
    step_variables: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Run]:
    """Tests run as root, steps do not."""
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(os, "getgid", lambda: 1000)
    run = Run(control_plane, tmp_path, step_variables)
    yield run
    admin.delete(run.step)
    wait_until(run.is_gone, "objects removed")


@pytest.fixture
def meanwhile() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Runs a function in a thread of its own; what it raises is raised at the end."""
    threads, errors = [], []

    def start(function: Callable[[], None]) -> None:
        def noted() -> None:
            try:
                function()
            except BaseException as error:
                errors.append(error)

        threads.append(threading.Thread(target=noted))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join()
    assert errors == []
