# SPDX-License-Identifier: Apache-2.0
"""How objects get into a cluster."""

from api import Api, Manifest


def apply(admin: Api, objects: list[Manifest]) -> None:
    """Applies them, in namespaces that let restricted pods in only."""
    for name in {thing["metadata"]["namespace"] for thing in objects if "namespace" in thing["metadata"]}:
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    for thing in objects:
        admin.apply(thing)
