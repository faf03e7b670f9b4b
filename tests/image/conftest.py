# SPDX-License-Identifier: Apache-2.0
"""The image, built once from `k8s/image/Dockerfile`, and containers of it under what `k8s/base` says."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import product
import pytest
from engine import Engine, missing
from oci import OVERLAY, Container, Image, container_of
from processes import CACHE
from small_demo import ANY_MODEL, SMALL

FIGURES = pytest.StashKey[str]()


@pytest.fixture(scope="session")
def image(request: pytest.FixtureRequest) -> Iterator[Image]:
    """Built anew in each session; ends the session where this machine cannot."""
    if lacking := missing():
        pytest.exit(f"make test-image needs {lacking}", returncode=2)
    engine = Engine(CACHE / "image")
    try:
        start = time.monotonic()
        product.build(engine)
        minutes = (time.monotonic() - start) / 60
        product.export(engine)
        size = engine.size(product.TAG)
        compressed = product.archive().stat().st_size / 1e9
        request.config.stash[FIGURES] = f"image: {size}, {compressed:.2f} GB compressed; built in {minutes:.1f} minutes"
        yield Image(engine.mount(product.TAG), engine.inspect(product.TAG), size)
    finally:
        engine.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Size and minutes."""
    if FIGURES in config.stash:
        terminalreporter.write_line(config.stash[FIGURES])


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus, made outside: the image has no espeak-ng."""
    folder = tmp_path_factory.mktemp("speech") / "corpus"
    command: list[str | Path] = [
        Path(sys.executable).with_name("audio-gender"),
        "corpus",
        "synth",
        folder,
        "--speakers=40",
        "--utterances=2",
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return folder


@pytest.fixture(scope="session")
def pushed(image: Image, speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The serving folder of the small demo, run in the image from clips to a pushed model; beside it `speech`, its corpus."""
    folder = tmp_path_factory.mktemp("whole")
    folder.chmod(0o777)
    settings = [f"--set={setting}" for setting in (*SMALL, *ANY_MODEL) if not setting.startswith("corpus.")]
    command = ["audio-gender", "run", "--config=pipeline/configs/demo.yaml", "--corpus=/corpus", "--workdir=/w/work", *settings]
    pod, specification = container_of("clips")
    specification = {**specification, "command": command, "args": [], "resources": {"limits": {"memory": "6Gi"}}}
    mounts, volumes = {"/corpus": speech, "/w": folder}, {"config": OVERLAY}
    with Container(image, pod, specification, folder / "containers", volumes=volumes, mounts=mounts) as started:
        status, output = started.wait(1800)
    assert status == 0, output[-3000:]
    assert "\npushed\n" in output
    (folder / "speech").symlink_to(speech)
    return folder / "work/serving"


@pytest.fixture
def container(image: Image, tmp_path: Path) -> Callable[..., Container]:
    """`container(name, args=[…], …)`: the container of this name in `k8s/`, not started; more arguments go to it."""

    def make(name: str, args: list[str] | None = None, **changes: Any) -> Container:
        pod, specification = container_of(name)
        specification = {**specification, "args": [*specification.get("args", []), *(args or [])]}
        volumes: Mapping[str, Path] = {"config": OVERLAY, **changes.pop("volumes", {})}
        return Container(image, pod, specification, tmp_path / "containers", volumes=volumes, **changes)

    return make


@pytest.fixture
def run(image: Image, tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """`run(command, …)`: exit status and output of a command under the clips job's rights; without one the image's own."""

    def call(*command: str, memory: str = "2Gi", timeout_s: float = 600, **options: Any) -> tuple[int, str]:
        pod, specification = container_of("clips")
        specification = {**specification, "command": list(command), "args": []}
        specification["resources"] = {"limits": {"memory": memory}}
        options.setdefault("volumes", {"config": OVERLAY})
        with Container(image, pod, specification, tmp_path / "containers", **options) as started:
            return started.wait(timeout_s)

    return call


@pytest.fixture
def writable(tmp_path: Path) -> Callable[[str], Path]:
    """`writable(name)`: a new folder that user 1000 may write to."""

    def make(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        folder.chmod(0o777)
        return folder

    return make
