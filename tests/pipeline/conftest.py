# SPDX-License-Identifier: Apache-2.0
"""The console command as people call it, a small corpus, and the demo pipeline, run once a session."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from demo_runs import Demo, DemoRun
from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2
from session_work import made_once
from small_demo import ANY_MODEL, PERFECT_MODEL, SMALL
from terminals import in_pty

from components.model_digest import MODEL_DIGEST, model_digest
from pipeline import cli
from pipeline.result import RunResult, folders, write_result
from pipeline.workdir import WorkDir

ROOT = Path(__file__).parents[2]
COMMAND = Path(sys.executable).parent / "audio-gender"


def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs `audio-gender` in a process of its own."""
    return subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=900)


def disk_usage(folder: Path) -> int:
    """The bytes of all files, counted by `du`."""
    return int(subprocess.run(["du", "-sb", folder], capture_output=True, check=True).stdout.split()[0])


def files_in(folder: Path) -> dict[str, bytes]:
    """Every file under a folder with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="session")
def audio_gender() -> Callable[..., subprocess.CompletedProcess[str]]:
    return call


@pytest.fixture(scope="session")
def read_folder() -> Callable[[Path], dict[str, bytes]]:
    return files_in


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture
def make_corpus(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes noise in LibriSpeech's layout: `num_female` and `num_male` speakers, three times 2 s each."""

    def make(num_female: int = 3, num_male: int = 3) -> Path:
        folder = tmp_path / "corpus"
        lines = [";ID | SEX | SUBSET | MINUTES | NAME"]
        for number, sex in enumerate("F" * num_female + "M" * num_male, start=1):
            (folder / f"train/{number}/1").mkdir(parents=True)
            for k in range(3):
                samples = np.random.default_rng([number, k]).integers(-9000, 9000, 2 * 16_000, dtype=np.int16)
                soundfile.write(folder / f"train/{number}/1/{number}-1-000{k}.flac", samples, 16_000)
            lines.append(f"{number} | {sex} | train | 0.03 | Speaker {number}")
        (folder / "SPEAKERS.TXT").write_text("\n".join(lines) + "\n")
        return folder

    return make


@pytest.fixture(scope="session")
def small_demo() -> list[str | Path]:
    """Options of `audio-gender run` for the demo, made small."""
    options = [argument for setting in SMALL for argument in ("--set", setting)]
    return ["--config", ROOT / "pipeline/configs/demo.yaml", *options]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The demo pipeline, made small: pushed, repeated, refused, stopped by a damaged dataset, and, in a terminal, waiting."""
    return made_once(tmp_path_factory, "demo", run_demo)


def run_demo(folder: Path) -> Demo:
    workdir = folder / "my work"

    def run(*settings: str) -> DemoRun:
        json_file = folder / "result.json"
        json_file.unlink(missing_ok=True)
        options = [argument for setting in (*SMALL, *settings) for argument in ("--set", setting)]
        config = ROOT / "pipeline/configs/demo.yaml"
        done = call("run", "--config", config, "--workdir", workdir, "--json", json_file, *options)
        result = json.loads(json_file.read_text()) if json_file.exists() else {}
        return DemoRun(done.returncode, done.stdout, done.stderr, result, files_in(workdir / "serving"), disk_usage(workdir))

    first = run(*ANY_MODEL)
    assert first.status == 0, first.terminal
    repeated = run(*ANY_MODEL)
    refused = run(*PERFECT_MODEL)
    shard = min((Path(first.result["folders"]["dataset"]) / "test").glob("*.tfrecord"))
    whole, stat = shard.read_bytes(), shard.stat()
    shard.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    damaged = run(*ANY_MODEL)
    shard.write_bytes(whole)
    os.utime(shard, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    options = [argument for setting in (*SMALL, *ANY_MODEL, "push.mode=review") for argument in ("--set", setting)]
    # By its name and from another folder, as the package is used where there is no checkout.
    waiting = in_pty(80, COMMAND, "run", "--config", "demo", "--workdir", workdir, *options, cwd=folder)
    listed = call("runs", "--workdir", workdir, "--json", folder / "runs.json")
    listed_json = json.loads((folder / "runs.json").read_text())
    status, terminal = waiting
    return Demo(workdir, first, repeated, refused, shard, damaged, status, terminal, listed, listed_json)


# A few records in a real metadata store, for what needs runs and no models.


@pytest.fixture
def workdir(tmp_path) -> WorkDir:
    return WorkDir(tmp_path / "work")


@pytest.fixture
def model(tmp_path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_text("model")
    return folder


@pytest.fixture
def make_run(workdir, model) -> Callable[..., str]:
    """A function that records a finished run."""

    def make(verdict: Any, baseline: str | None = None, servable: bool = True, run_id: str = "20261123-000000") -> str:
        shutil.copytree(model, workdir.tfx / "Trainer/model/7/Format-Serving", dirs_exist_ok=True)
        store = MetadataStore(workdir.connection())
        pushed: dict[str, int | str] = {"pushed": int(verdict == "pushed"), "waiting": int(verdict == "waiting")}
        if verdict == "pushed":
            pushed["pushed_version"] = "1795000000"
        checked = {"blessed": int(servable), "reasons": json.dumps([] if servable else ["signature wav is missing"])}
        artifacts: dict[str, tuple[str, dict[str, Any]]] = {
            "Model": ("tfx/Trainer/model/7", {MODEL_DIGEST: model_digest(model)}),
            "ModelBlessing": ("blessing", {"blessed": int(verdict != "refused")}),
            "InfraBlessing": ("check", checked),
            "PushedModel": ("pushed", pushed),
        }
        context = metadata_store_pb2.Context(
            type_id=store.put_context_type(metadata_store_pb2.ContextType(name="pipeline_run")), name=run_id
        )
        kind = store.put_execution_type(metadata_store_pb2.ExecutionType(name="tfx.Pusher"))
        events = []
        for name, (uri, properties) in artifacts.items():
            type_id = store.put_artifact_type(metadata_store_pb2.ArtifactType(name=name))
            artifact = metadata_store_pb2.Artifact(type_id=type_id, uri=uri)
            for key, value in properties.items():
                setattr(artifact.custom_properties[key], "int_value" if isinstance(value, int) else "string_value", value)
            events.append((artifact, metadata_store_pb2.Event(type=metadata_store_pb2.Event.OUTPUT)))
        execution = metadata_store_pb2.Execution(type_id=kind, last_known_state=metadata_store_pb2.Execution.COMPLETE)
        store.put_execution(execution, events, [context])
        (workdir.reports / run_id).mkdir(parents=True)
        result = RunResult(
            run_id=run_id,
            verdict=verdict,
            reason="accuracy on label=female is 0.5000, below 0.85" if verdict == "refused" else "all is well",
            metrics={"all": {"accuracy": 0.5}},
            classes=["male", "female"],
            serving_version="1795000000" if verdict == "pushed" else None,
            baseline_version=baseline,
            inputs_digest="",
            folders=folders(workdir, run_id, "corpus", "dataset"),
            nodes=[],
            seconds=1.0,
        )
        write_result(workdir, result)
        return run_id

    return make


@pytest.fixture
def command(capsys, monkeypatch, workdir) -> Callable[..., tuple[int, str]]:
    """A function that runs the console command in this process: its status, and its messages and result."""

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["audio-gender", *arguments, "--workdir", str(workdir.root)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), err + out

    return run
