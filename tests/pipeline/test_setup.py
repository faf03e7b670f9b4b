# SPDX-License-Identifier: Apache-2.0
"""The set-up: what a host lacks is told in one line, a second call does nothing, and the lock pins every byte."""

import importlib.metadata
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from python_index import python_index


@pytest.fixture
def fresh_clone(root: Path, tmp_path: Path) -> Path:
    """What the set-up reads, in a folder without .venv."""
    clone = tmp_path / "clone"
    for folder in ("tools", "locks"):
        shutil.copytree(root / folder, clone / folder)
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(root / name, clone)
    return clone


def set_up(folder: Path, python: Path | str, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": str(python), **environment}
    return subprocess.run(["bash", "tools/setup.sh"], cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


def interpreter(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_a_python_that_is_not_there_is_named(fresh_clone):
    done = set_up(fresh_clone, "/nonexistent")

    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"setup: PYTHON is '/nonexistent', and there is no such program; .*\n", done.stderr)
    assert not (fresh_clone / ".venv").exists()


def test_another_version_of_python_is_named(fresh_clone, tmp_path):
    done = set_up(fresh_clone, interpreter(tmp_path / "python3.12", "echo 3.12"))

    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"setup: Python 3\.11 is needed .* '.*/python3\.12' is 3\.12; .*\n", done.stderr)
    assert not (fresh_clone / ".venv").exists()


def test_a_python_that_does_not_start_is_named(fresh_clone, tmp_path):
    done = set_up(fresh_clone, interpreter(tmp_path / "broken", "echo a long complaint >&2; exit 127"))

    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"setup: '.*/broken' does not start; .*\n", done.stderr)
    assert not (fresh_clone / ".venv").exists()


def python_but_not_3_11() -> Path | None:
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    check = "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 9) or sys.version_info[:2] == (3, 11))"
    for python in [Path("/usr/bin/python3"), *pyenv.glob("versions/3.*/bin/python3")]:
        if python.exists() and subprocess.run([python, "-c", check], capture_output=True, timeout=60).returncode == 0:
            return python
    return None


@pytest.fixture
def path_without_python(tmp_path: Path) -> Path:
    """A folder for PATH with everything of /usr/bin but its Pythons."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in Path("/usr/bin").iterdir():
        if not program.name.startswith("python"):
            (folder / program.name).symlink_to(program)
    return folder


def test_without_any_python_one_line_says_what_to_install(fresh_clone, path_without_python):
    done = set_up(fresh_clone, "", PATH=str(path_without_python))

    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"setup: neither python3\.11 nor python3 is on the PATH; install one .*\n", done.stderr)
    assert not (fresh_clone / ".venv").exists()


@pytest.fixture
def without_python_3_11(path_without_python: Path, tmp_path: Path) -> dict[str, str]:
    """The environment of a user of Debian 13, whose home folder is empty."""
    if (other := python_but_not_3_11()) is None:
        pytest.skip("needs a Python that is not 3.11, as Debian 13 and Ubuntu 24.04 have")
    (path_without_python / "python3").symlink_to(other)
    (tmp_path / "home").mkdir()
    return {"PATH": str(path_without_python), "HOME": str(tmp_path / "home")}


def make_interpreter(clone: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    (clone / ".venv").mkdir()
    make = ["bash", "tools/interpreter.sh", "make", ".venv"]
    return subprocess.run(make, cwd=clone, env=environment, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_without_python_3_11_uv_fetches_one_into_venv(fresh_clone, without_python_3_11, tmp_path):
    with python_index() as address:
        done = make_interpreter(fresh_clone, without_python_3_11 | {"UV_PYTHON_DOWNLOADS_JSON_URL": address})

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(
        "setup: there is no Python 3.11 here: fetching uv's build of it (about 30 MB) into .venv/python;"
    )
    print_prefix = [fresh_clone / ".venv/bin/python", "-c", "import ssl, sys; print(sys.version[:5], sys.base_prefix)"]
    version, prefix = subprocess.run(print_prefix, capture_output=True, text=True, check=True, timeout=60).stdout.split()
    assert version == "3.11."
    assert Path(prefix).is_relative_to(fresh_clone / ".venv/python")
    assert [path.name for path in (tmp_path / "home").iterdir()] in ([], [".cache"])


def test_where_python_3_11_cannot_be_fetched_one_line_says_why_and_what_to_do(fresh_clone, without_python_3_11):
    nowhere = {"UV_PYTHON_DOWNLOADS_JSON_URL": "http://127.0.0.1:1/index.json", "UV_HTTP_RETRIES": "0"}
    done = make_interpreter(fresh_clone, without_python_3_11 | nowhere)

    assert done.returncode == 2
    assert re.fullmatch(
        r"setup: Python 3\.11 could not be fetched \(.*: Connection refused.*\); install it and .*\n", done.stderr
    )


@pytest.mark.parametrize("target", ["setup", "run", "test", "test-all", "check"])
def test_every_target_sets_up_first_and_stops_where_it_cannot(fresh_clone, target):
    environment = {**os.environ, "PYTHON": "/nonexistent"}
    done = subprocess.run(["make", target], cwd=fresh_clone, env=environment, capture_output=True, text=True, timeout=60)

    assert done.returncode == 2
    assert done.stderr.splitlines()[0].startswith("setup: PYTHON is '/nonexistent', and there is no such program")


def test_a_second_set_up_does_nothing(root):
    stamp = root / ".venv/.ready"
    if not stamp.exists():
        pytest.skip("this interpreter is not the one that `make setup` made")
    make = ["make", "--no-print-directory", "setup"]
    subprocess.run(make, cwd=root, check=True, capture_output=True, timeout=600)
    before = stamp.stat()

    again = subprocess.run(make, cwd=root, check=True, capture_output=True, text=True, timeout=60)

    assert (again.stdout, again.stderr) == ("", "")
    assert stamp.stat() == before


LOCKS = [
    "requirements.lock",
    "locks/croissant.lock",
    "locks/dev.lock",
    "locks/export.lock",
    "locks/lineage.lock",
    "locks/s3.lock",
    "locks/sign.lock",
    "locks/synth.lock",
    "locks/wandb.lock",
    "tools/bootstrap.lock",
    "tools/docs.lock",
    "tools/sbom.lock",
]
OPTION = re.compile(r"^--(no|only)-binary (\S+)\n", re.MULTILINE)


def test_every_lock_is_looked_at(root):
    there = [path for pattern in ("*.lock", "locks/*.lock", "tools/*.lock") for path in root.glob(pattern)]
    assert sorted(LOCKS) == sorted(str(path.relative_to(root)) for path in there)


@pytest.mark.parametrize("name", LOCKS)
def test_the_lock_pins_every_package_by_hash_and_names_no_registry(root, name):
    text = (root / name).read_text()
    packages = re.split(r"\n(?=[^\s#])", OPTION.sub("", text).strip())

    assert packages
    for package in packages:
        assert re.match(r"[\w.-]+(\[[\w,-]+\])?==[\w.!+-]+( ; [^\\]*)? \\\n    --hash=sha256:[0-9a-f]{64}", package), package
    assert "://" not in text
    assert not re.search(r"^(-i|--\S*index|--find-links)", text, re.MULTILINE)


@pytest.mark.parametrize("name", LOCKS)
def test_nothing_in_the_lock_needs_a_compiler(root, name):
    options = OPTION.findall((root / name).read_text())

    assert options[0] == ("only", ":all:")  # pip and uv refuse whatever has no wheel; pip forgets what came before this line
    for kind, package in options[1:]:
        assert kind == "no"
        built = importlib.metadata.distribution(package).read_text("WHEEL")
        assert re.search(r"^Tag: \S+-none-any$", built, re.MULTILINE), f"{package} was built by a compiler"


def test_a_group_holds_only_what_it_adds(root):
    pinned = {name: set(re.findall(r"^([a-z0-9][\w.-]*)\S*==", (root / name).read_text(), re.MULTILINE)) for name in LOCKS}

    for name in (name for name in LOCKS if name.startswith("locks/")):
        assert not pinned[name] & pinned["requirements.lock"], name
    assert pinned["locks/synth.lock"] == {"espeakng-loader"}  # GPL-3.0: apart from all else


def test_no_file_of_the_set_up_holds_a_registry_address(root):
    for path in (
        root / "Makefile",
        root / "pyproject.toml",
        *(path for path in (root / "tools").rglob("*") if path.is_file() and path.suffix != ".pyc"),
    ):
        assert not re.search(r"https?://\S*(pypi|simple|index|mirror)", path.read_text()), path


@pytest.mark.skipif(
    # This interpreter may have a C library of its own; getconf has the host's.
    tuple(map(int, subprocess.check_output(["getconf", "GNU_LIBC_VERSION"], text=True).split()[1].split("."))) >= (2, 39),
    reason="this host's glibc is new enough, so nothing has to be fetched",
)
def test_an_old_glibc_without_apt_is_told_in_one_line(root: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "getconf", "cut", "sort", "head", "realpath", "basename"):
        (tools / name).symlink_to(shutil.which(name))
    venv = tmp_path / "venv"
    venv.mkdir()

    command: list[str | Path] = [shutil.which("bash"), root / "tools/private_glibc.sh", venv]
    done = subprocess.run(command, env={"PATH": str(tools)}, capture_output=True, text=True, timeout=60)

    assert done.returncode == 2
    assert re.fullmatch(r"setup: .*need glibc 2\.39 .*this host has .*apt.*\n", done.stderr)
    assert not list(venv.iterdir())
