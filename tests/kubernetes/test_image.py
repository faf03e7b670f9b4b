# SPDX-License-Identifier: Apache-2.0
"""The Dockerfile, as far as it can be looked at without a container engine."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from overlays import ROOT

DOCKERFILE = ROOT / "k8s" / "image" / "Dockerfile"
TEXT = DOCKERFILE.read_text()


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stdout) == (0, "")


def test_every_base_image_has_a_digest() -> None:
    stages = set(re.findall(r" AS (\S+)", TEXT))
    bases = set(re.findall(r"^FROM (\S+)", TEXT, re.MULTILINE)) - stages

    assert bases
    assert all(re.search("@sha256:[0-9a-f]{64}$", base) for base in bases)


def test_the_image_runs_as_nobody_in_particular() -> None:
    last = TEXT[TEXT.rindex("\nFROM ") :]

    assert re.findall(r"^USER (\S+)", last, re.MULTILINE) == ["1000:1000"]
    assert "--uid 1000" in last


def test_what_only_development_needs_and_espeak_stay_out() -> None:
    installed = re.search(r"uv pip sync .*?\n(?=\S)", TEXT, re.DOTALL)

    assert installed
    assert set(re.findall(r"\S+\.lock", installed[0])) == {
        "requirements.lock",
        "locks/s3.lock",
        "locks/sign.lock",
        "locks/lineage.lock",
    }


def test_the_build_context_holds_what_is_copied_and_no_more() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    let_in = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copied = {path for line in re.findall(r"^COPY (?!--from)(.*)", TEXT, re.MULTILINE) for path in line.split()[:-1]}

    assert ignored[ignored.index("*")] == "*"
    assert let_in == copied
    assert all((ROOT / path).exists() for path in copied)


def test_without_a_container_engine_make_image_says_so(tmp_path: Path) -> None:
    for tool in ("bash", "dirname", "git"):
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    done = subprocess.run(
        ["bash", ROOT / "tools/image.sh"], env={"PATH": str(tmp_path)}, capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("image: neither docker nor podman answers here")
