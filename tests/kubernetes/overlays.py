"""The manifests' overlays, and how they get into a cluster."""

from pathlib import Path

from api import Api, Manifest

OVERLAYS = sorted(path.parent for path in Path(__file__).parents[2].glob("k8s/overlays/*/kustomization.yaml"))


def apply(admin: Api, objects: list[Manifest]) -> None:
    """Applies them, in namespaces that let restricted pods in only."""
    for name in {thing["metadata"]["namespace"] for thing in objects if "namespace" in thing["metadata"]}:
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    for thing in objects:
        admin.apply(thing)
