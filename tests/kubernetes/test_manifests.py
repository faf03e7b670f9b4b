# SPDX-License-Identifier: Apache-2.0
"""What `kustomize build k8s/overlays/*` comes to, applied to a real API server."""

import os

import pytest
from api import Api, Manifest, RefusedError
from applying import apply
from control_plane import ControlPlane
from kustomize_tool import render
from overlays import FOLDER, OVERLAYS
from pod_templates import pods

pytestmark = pytest.mark.skipif(
    os.environ.get("RUN_KUBERNETES") != "1", reason="needs Go, Maven and some minutes: make test-kubernetes"
)


@pytest.fixture(scope="module", params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> list[Manifest]:
    """All objects of an overlay."""
    return render(FOLDER / request.param)


@pytest.fixture
def admin(control_plane: ControlPlane, custom_resources: None) -> Api:
    """Whoever applies the manifests; what the server warns of is its own."""
    return control_plane.as_user(control_plane.admin.token)


def test_every_object_is_accepted_without_a_warning(admin, overlay):
    apply(admin, overlay)

    assert admin.warnings == []
    assert all(admin.exists(admin.path_of(thing)) for thing in overlay)


def test_every_object_names_its_namespace(admin, overlay):
    unnamed = [admin.path_of(thing) for thing in overlay if "namespace" not in thing["metadata"]]

    assert [path for path in unnamed if "/namespaces/default/" in path] == []


def test_applying_twice_changes_nothing(admin, overlay):
    apply(admin, overlay)
    before = [admin.get(admin.path_of(thing))["metadata"]["resourceVersion"] for thing in overlay]

    apply(admin, overlay)

    assert [admin.get(admin.path_of(thing))["metadata"]["resourceVersion"] for thing in overlay] == before


def test_pod_security_restricted_lets_every_pod_in(admin, overlay):
    apply(admin, overlay)
    admitted = [admin.create(pod, dryRun="All")["metadata"]["name"] for pod in pods(overlay)]

    assert len(admitted) > 2
    assert admin.warnings == []


def test_a_field_that_nobody_knows_is_refused(admin, overlay):
    apply(admin, overlay)
    kinds = {thing["kind"]: thing for thing in overlay}
    for kind in kinds.keys() & {"CronJob", "FlinkDeployment", "InferenceService", "NetworkPolicy"}:
        with pytest.raises(RefusedError, match="notAField"):
            admin.apply({**kinds[kind], "spec": {**kinds[kind]["spec"], "notAField": 1}})


def test_a_privileged_pod_is_not_let_in(admin, overlay):
    apply(admin, overlay)
    pod = next(pods(overlay))
    del pod["spec"]["containers"][0]["securityContext"]

    with pytest.raises(RefusedError, match=r'violates PodSecurity "restricted'):
        admin.create(pod, dryRun="All")
