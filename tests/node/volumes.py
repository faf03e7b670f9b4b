# SPDX-License-Identifier: Apache-2.0
"""Volumes: folders of this machine, as kind's provisioner makes them, for it is the one part of a cluster that is missing."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from node_cluster import Cluster


def add_volume(cluster: "Cluster", claim: str, namespace: str = "kubeflow") -> Path:
    """A volume for the claim of this name, to be looked at."""
    folder = cluster.folder / "volumes" / claim
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    volume: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": claim},
        "spec": {
            "capacity": {"storage": "20Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "standard",
            "claimRef": {"namespace": namespace, "name": claim},
            "hostPath": {"path": str(folder)},
        },
    }
    cluster.admin.apply(volume)
    return folder
