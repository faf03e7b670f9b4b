"""The console command as people call it, a small corpus, and the demo pipeline, which runs once a session."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from small_demo import ANY_MODEL, PERFECT_MODEL, SMALL
from terminals import in_pty

ROOT = Path(__file__).parents[2]
COMMAND = Path(sys.executable).parent / "audio-gender"


def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs `audio-gender` in a process of its own."""
    return subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=900)


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
    """A function that writes a corpus of noise in LibriSpeech's layout: `num_female` and `num_male` speakers, 2 s each."""

    def make(num_female: int = 3, num_male: int = 3) -> Path:
        folder = tmp_path / "corpus"
        lines = [";ID | SEX | SUBSET | MINUTES | NAME"]
        for number, sex in enumerate("F" * num_female + "M" * num_male, start=1):
            path = folder / f"train/{number}/1/{number}-1-0000.flac"
            path.parent.mkdir(parents=True)
            samples = np.random.default_rng(number).integers(-9000, 9000, 2 * 16_000, dtype=np.int16)
            soundfile.write(path, samples, 16_000)
            lines.append(f"{number} | {sex} | train | 0.03 | Speaker {number}")
        (folder / "SPEAKERS.TXT").write_text("\n".join(lines) + "\n")
        return folder

    return make


@pytest.fixture(scope="session")
def small_demo() -> list[str | Path]:
    """Options of `audio-gender run` for the demo, made small."""
    options = [argument for setting in SMALL for argument in ("--set", setting)]
    return ["--config", ROOT / "pipeline/configs/demo.yaml", *options]


@dataclass(frozen=True)
class DemoRun:
    """A finished call of `audio-gender run`: what the terminal showed, the result's JSON, and serving's files after it."""

    status: int
    stdout: str
    terminal: str
    result: dict[str, Any]
    serving: dict[str, bytes]


@dataclass(frozen=True)
class Demo:
    """Calls of `audio-gender run` one after the other in one work folder."""

    workdir: Path
    first: DemoRun
    repeated: DemoRun
    refused: DemoRun
    damaged_shard: Path
    damaged: DemoRun
    waiting_status: int
    waiting_terminal: str
    listed: subprocess.CompletedProcess[str]
    listed_json: list[dict[str, Any]]

    @property
    def dataset(self) -> Path:
        return Path(self.first.result["folders"]["dataset"])

    @property
    def served_model(self) -> Path:
        return self.workdir / "serving" / self.first.result["serving_version"]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The demo pipeline, made small: pushed, repeated, refused, stopped by a damaged dataset, and, in a terminal, waiting."""
    folder = tmp_path_factory.mktemp("demo")
    workdir = folder / "my work"

    def run(*settings: str) -> DemoRun:
        json_file = folder / "result.json"
        json_file.unlink(missing_ok=True)
        options = [argument for setting in (*SMALL, *settings) for argument in ("--set", setting)]
        config = ROOT / "pipeline/configs/demo.yaml"
        done = call("run", "--config", config, "--workdir", workdir, "--json", json_file, *options)
        result = json.loads(json_file.read_text()) if json_file.exists() else {}
        return DemoRun(done.returncode, done.stdout, done.stderr, result, files_in(workdir / "serving"))

    first = run(*ANY_MODEL)
    assert first.status == 0, first.terminal
    repeated = run(*ANY_MODEL)
    refused = run(*PERFECT_MODEL)
    shard = min((Path(first.result["folders"]["dataset"]) / "test").iterdir())
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
    return Demo(workdir, first, repeated, refused, shard, damaged, *waiting, listed, listed_json)
