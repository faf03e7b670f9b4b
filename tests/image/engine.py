# SPDX-License-Identifier: Apache-2.0
"""buildah and runc, as root: a Dockerfile becomes an image, an image a root file system, and that a container."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REVISION = "0123456789abcdef"
"""What the image says that it was built from."""
TOOLS = ("buildah", "runc", "mmdebstrap")
"""Programs that this needs, each in a Debian package of its name."""


def missing() -> str:
    """What this machine lacks to build and run an image, in words; empty where it lacks nothing."""
    absent = [tool for tool in TOOLS if not shutil.which(tool)]
    reasons = ["root"] if os.geteuid() else []
    if sys.base_prefix == "/usr":  # Debian's is scattered and has no ensurepip that works elsewhere
        reasons.append("a Python 3.11 in a folder of its own, such as pyenv's or uv's (make PYTHON=…)")
    return " and ".join(reasons + ([f"{', '.join(absent)} (apt-get install {' '.join(absent)})"] if absent else []))


class Engine:
    """A container storage of its own, in `folder`; nothing of it is left after `close`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.close()  # what an earlier session left, if it was killed
        folder.mkdir(parents=True)
        (folder / "tmp").mkdir()
        self._environment = {**os.environ, "TMPDIR": str(folder / "tmp")}  # layers on their way; else in /var/tmp
        # Without overlay each layer is a whole copy: slow, and four times the disk.
        self._driver = "overlay"
        if self._buildah("info", check=False).returncode:
            self._driver = "vfs"

    def base(self, archive: Path, tag: str, environment: Sequence[str]) -> None:
        """Makes an image of one layer."""
        container = self._buildah("from", "scratch").stdout.strip()
        self._buildah("add", container, str(archive), "/")
        self._buildah("config", *(f"--env={variable}" for variable in environment), container)
        self._buildah("commit", "--format=docker", "--rm", container, tag)

    def build(self, dockerfile: Path, context: Path, tag: str, base: str, revision: str, log: Path) -> None:
        """Builds a Dockerfile whose first base is replaced by `base`; the log has what it prints."""
        options = ["--isolation=oci", "--runtime=runc", "--format=docker", "--network=host", f"--from={base}", f"--tag={tag}"]
        with log.open("w") as file:
            done = subprocess.run(
                [*self._command, "bud", *options, f"--file={dockerfile}", f"--build-arg=REVISION={revision}", context],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=self._environment,
                timeout=3600,
            )
        assert done.returncode == 0, f"{dockerfile} does not build; the end of {log}:\n{log.read_text()[-3000:]}"

    def inspect(self, tag: str) -> dict[str, Any]:
        """The image's configuration: user, environment, folder, labels."""
        return json.loads(self._buildah("inspect", "--type=image", tag).stdout)["OCIv1"]["config"]

    def size(self, tag: str) -> str:
        """All layers, unpacked, in words."""
        return str(json.loads(self._buildah("images", "--json", tag).stdout)[0]["size"])

    def mount(self, tag: str) -> Path:
        """The root file system of the image, which must be left as it is."""
        container = self._buildah("from", tag).stdout.strip()
        return Path(self._buildah("mount", container).stdout.strip())

    def export(self, tag: str, archive: Path, name: str) -> None:
        """Writes an image as an OCI archive in which it has this name: compressed, a third of its size."""
        self._buildah("push", "--compression-format=zstd", tag, f"oci-archive:{archive}:{name}")

    def close(self) -> None:
        """Removes all that is in the folder, and the folder."""
        mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for path in reversed([path for path in mounted if path.startswith(f"{self.folder}/")]):
            subprocess.run(["umount", "--lazy", path], check=True, timeout=60)
        if self.folder.exists():
            shutil.rmtree(self.folder)

    @property
    def _command(self) -> list[str]:
        storage = ["--root", str(self.folder / "storage"), "--runroot", str(self.folder / "run")]
        return ["buildah", *storage, "--storage-driver", self._driver]

    def _buildah(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [*self._command, *arguments]
        return subprocess.run(command, env=self._environment, capture_output=True, text=True, check=check, timeout=1800)
