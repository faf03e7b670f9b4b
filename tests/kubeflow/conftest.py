# SPDX-License-Identifier: Apache-2.0
"""The demo, made small: run once by LocalDagRunner, and once as Kubeflow would run what is compiled of the same settings."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from driver import Kubeflow, Run
from small_demo import ANY_MODEL, SMALL

if TYPE_CHECKING:  # importing it takes seconds, and most sessions skip what is here
    from kubeflow_api import KubeflowApi

    from pipeline.config import PipelineConfig
    from pipeline.kubeflow.client import Kubeflow as Client

ROOT = Path(__file__).parents[2]
COMMAND = Path(sys.executable).parent / "audio-gender"
IMAGE = f"example/audio-gender@sha256:{'0' * 64}"
PIPELINE_ROOT = "minio://mlpipeline/audio-gender"


@dataclass(frozen=True)
class Cluster:
    """A Kubeflow of this process, its volumes, and pipelines compiled for it."""

    kubeflow: Kubeflow
    volumes: Path
    parameters: dict[str, Any]

    @property
    def serving(self) -> Path:
        return self.volumes / "serving/audio-gender"

    def compile(self, *settings: str) -> str:
        """The demo, compiled."""
        from pipeline.kubeflow.compile import compile_pipeline

        return compile_pipeline(self._config(*settings), IMAGE)

    def compile_decision(self, *settings: str) -> str:
        """The pipeline of a person's decision."""
        from pipeline.kubeflow.compile import compile_decision

        return compile_decision(self._config(*settings), IMAGE)

    def _config(self, *settings: str) -> "PipelineConfig":
        from pipeline.config import load_config

        volumes = [
            {"claim": "audio-gender-serving", "path": f"{self.volumes}/serving", "nodes": ["ServingBaseline", "Pusher"]},
            {"claim": "audio-gender-training", "path": f"{self.volumes}/training", "nodes": ["Trainer"]},
        ]
        kubernetes = [
            f"kubernetes.volumes={json.dumps(volumes)}",
            f"kubernetes.serving_uri={self.serving}",
            f"kubernetes.shared_folder={self.volumes}/training",
            "kubernetes.secret_env={AWS_ACCESS_KEY_ID: {secret: audio-gender-object-store, key: access_key_id}}",
        ]
        return load_config(ROOT / "pipeline/configs/demo.yaml", [*SMALL, *ANY_MODEL, *kubernetes, *settings])


@dataclass(frozen=True)
class Walk:
    """The demo run on the cluster."""

    cluster: Cluster
    compiled: str
    run: Run

    def again(self, *settings: str, only: set[str], ml_metadata: bool = True, **parameters: Any) -> Run:
        """Another run, with some settings changed; of the nodes before `only` it has what this run made."""
        compiled = self.cluster.compile(*settings)
        values = self.cluster.parameters | parameters
        return self.cluster.kubeflow.run(compiled, values, earlier=self.run, only=only, ml_metadata=ml_metadata)


@pytest.fixture(scope="session")
def local_result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The result of `audio-gender run`."""
    if not os.environ.get("RUN_KUBEFLOW"):
        pytest.skip("minutes: run it with `make test-kubeflow`")
    folder = tmp_path_factory.mktemp("local")
    options = [argument for setting in (*SMALL, *ANY_MODEL) for argument in ("--set", setting)]
    command: list[str | Path] = [COMMAND, "run", "--config", ROOT / "pipeline/configs/demo.yaml", "--workdir", folder / "work"]
    done = subprocess.run([*command, "--json", folder / "result.json", *options], capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "result.json").read_text())


@pytest.fixture(scope="session")
def new_cluster(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Cluster]:
    """A cluster without a past, for pipelines with this corpus."""

    def make(corpus: str) -> Cluster:
        folder = tmp_path_factory.mktemp("kubeflow")
        kubeflow = Kubeflow(
            folder,
            pipeline_root=PIPELINE_ROOT,
            image_files={"/app/": f"{ROOT}/"},
            secrets={"audio-gender-object-store": {"access_key_id": "demo"}},
        )
        return Cluster(kubeflow, folder / "volumes", {"corpus_uri": corpus, "dataset_uri": str(folder / "clips")})

    return make


@pytest.fixture(scope="session")
def walk(local_result: dict[str, Any], new_cluster: Callable[[str], Cluster]) -> Walk:
    """The same settings and corpus, compiled, and run step by step."""
    cluster = new_cluster(local_result["folders"]["corpus"])
    compiled = cluster.compile()
    return Walk(cluster, compiled, cluster.kubeflow.run(compiled, cluster.parameters))


@pytest.fixture(scope="session")
def files_of() -> Callable[[Path], dict[str, bytes]]:
    """Every file under a folder with its content."""

    def read(folder: Path) -> dict[str, bytes]:
        return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}

    return read


PARAMETERS = {
    "dataset_uri": {"parameterType": "STRING", "isOptional": True, "defaultValue": "s3://clips/demo"},
    "epochs": {"parameterType": "NUMBER_INTEGER", "isOptional": True, "defaultValue": 12},
    "learning_rate": {"parameterType": "NUMBER_DOUBLE", "isOptional": True, "defaultValue": 0.002},
    "push_mode": {"parameterType": "STRING", "isOptional": True, "defaultValue": "auto", "literals": ["auto", "review"]},
}


@pytest.fixture
def server() -> "Iterator[KubeflowApi]":
    """Kubeflow's API, as far as this project asks it."""
    from kubeflow_api import KubeflowApi

    with KubeflowApi() as server:
        yield server


@pytest.fixture
def kubeflow(server: "KubeflowApi") -> "Client":
    """What the commands have of it."""
    from pipeline.kubeflow.client import connect

    return connect(server.host)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Two documents, as `compile` writes them, without the nodes."""
    import yaml

    spec = {
        "pipelineInfo": {"name": "audio-gender"},
        "defaultPipelineRoot": "s3://artifacts/runs",
        "schemaVersion": "2.1.0",
        "root": {"dag": {}, "inputDefinitions": {"parameters": PARAMETERS}},
    }
    path = tmp_path / "pipeline.yaml"
    path.write_text(yaml.safe_dump_all([spec, {"platforms": {"kubernetes": {}}}]))
    return path
