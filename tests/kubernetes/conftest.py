# SPDX-License-Identifier: Apache-2.0
"""A real Kubernetes control plane, started once."""

import os

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import shutil
from collections.abc import Iterator

import pytest
from api import wait_until
from control_plane import ControlPlane
from custom_resources import custom_resource_definitions
from kubelet import Kubelet, own_command


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
