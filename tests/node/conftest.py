# SPDX-License-Identifier: Apache-2.0
"""A cluster of one real node, started once, with this project's image."""

import os

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import sys
from collections.abc import Iterator
from pathlib import Path

# pytest puts each folder of tests on the path as it comes to it.
sys.path.extend(str(Path(__file__).parents[1] / name) for name in ("kubernetes", "image", "kubeflow"))

import pytest
from images import load_product
from node_cluster import Cluster, missing


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The node, ready; ends the session where this machine cannot."""
    if lacking := missing():
        pytest.exit(f"make test-node needs {lacking}", returncode=2)
    folder = tmp_path_factory.mktemp("node")
    print(f"\nthe node's logs: {folder}")
    with Cluster(folder) as cluster:
        load_product(cluster)
        yield cluster
