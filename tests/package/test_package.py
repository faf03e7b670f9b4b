# SPDX-License-Identifier: Apache-2.0
"""The package, away from the checkout: what `make dist` lays out installs with pip alone and with uv, and runs the demo."""

import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("pipeline", "components", "beam_jobs")

pytestmark = pytest.mark.skipif(
    not Path(sys.prefix, "bootstrap").exists(), reason="this interpreter is not the one that `make setup` made"
)
slow = pytest.mark.skipif(not os.environ.get("RUN_PACKAGE"), reason="`make test-package` installs everything anew (10 minutes)")


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("elsewhere") / "dist"
    subprocess.run(["bash", ROOT / "tools/dist.sh", folder], check=True, timeout=300)
    return folder


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(dist):
    (wheel,) = dist.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    tracked = subprocess.run(["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True)

    assert held == set(tracked.stdout.split())


def test_the_wheel_has_the_command_that_it_says_and_types_for_whoever_imports_it(dist):
    (path,) = dist.glob("*.whl")
    wheel = zipfile.ZipFile(path)
    (entry_points,) = (name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt"))
    installed = ConfigParser()
    installed.read_string(wheel.read(entry_points).decode())
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]

    assert dict(installed["console_scripts"]) == scripts
    for target in scripts.values():
        module, _, function = target.partition(":")
        assert f"\ndef {function}(" in wheel.read(f"{module.replace('.', '/')}.py").decode()
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(wheel.namelist())


def test_the_lock_beside_the_wheel_pins_it_too(dist):
    (wheel,) = dist.glob("*.whl")
    lock = (dist / "audio-gender.lock").read_text()

    assert lock.endswith(f"\n./{wheel.name} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n")
    assert (ROOT / "requirements.lock").read_text() in lock


def documented_commands(heading: str) -> list[str]:
    section = (ROOT / "docs/install.md").read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    return [line for block in re.findall(r"```\n(.*?)```", section, re.DOTALL) for line in block.splitlines()]


@slow
@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_what_the_docs_say_installs_it_and_runs_the_demo(dist, installer, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    venv = tmp_path / "venv"
    venv.mkdir()
    # As docs/install.md has it, but with a C library of its own where this host's is too old.
    subprocess.run(["bash", ROOT / "tools/interpreter.sh", "make", venv], check=True, env=environment, timeout=900)
    environment |= {"VIRTUAL_ENV": str(venv), "PATH": f"{venv}/bin:{venv}/bootstrap/bin:{os.environ['PATH']}"}
    (install,) = [line for line in documented_commands("Without the checkout") if re.match(rf"{installer} (pip )?install", line)]

    subprocess.run(install, shell=True, cwd=dist, env=environment, check=True, timeout=1800)
    empty = tmp_path / "empty"
    empty.mkdir()
    (configuration,) = venv.glob("lib/python3.11/site-packages/pipeline/configs/demo.yaml")
    run = ["audio-gender", "run", "--config", configuration, "--workdir", "work", "--json", "result.json"]
    done = subprocess.run(run, cwd=empty, env=environment, capture_output=True, text=True, timeout=1800)

    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((empty / "result.json").read_text())["verdict"] == "pushed"
    assert sorted(path.name for path in empty.iterdir()) == ["result.json", "work"]
