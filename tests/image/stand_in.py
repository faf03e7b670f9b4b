# SPDX-License-Identifier: Apache-2.0
"""What stands for `python:3.11-slim-trixie` where no image registry is reachable: Debian 13 with the Python of these tests."""

import shutil
import subprocess
import sys
from pathlib import Path

# What the official image has beside Debian's smallest: what the standard library links to.
PACKAGES = (
    "ca-certificates,netbase,tzdata,libbz2-1.0,libcrypt1,libexpat1,libffi8,libgdbm6t64,liblzma5,libncursesw6,libnsl2,"
    "libreadline8t64,libsqlite3-0,libssl3t64,libtirpc3t64,libuuid1,zlib1g"
)
NOT_IN_SLIM = ("site-packages", "test", "tests", "__pycache__", "config-3.11*", "idlelib", "tkinter", "turtledemo", "_tkinter*")
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
ENVIRONMENT = (
    "PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
    # pip and uv have certificates of their own, and would not trust a mirror that only this machine trusts.
    f"PIP_CERT={BUNDLE}",
    f"SSL_CERT_FILE={BUNDLE}",
)


def make_root(folder: Path) -> Path:
    """A root file system as a tar archive in `folder`, a new folder.

    Python is the base of the interpreter that runs this: one in a folder of its own, such as pyenv's or uv's.
    """
    root, archive = folder / "root", folder / "root.tar"
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", "trixie", str(root), *_mirror()]
    folder.mkdir(parents=True)
    subprocess.run(command, check=True, timeout=900)
    for certificate in Path("/usr/local/share/ca-certificates").glob("*.crt"):
        shutil.copy(certificate, root / "usr/local/share/ca-certificates")
    _copy_python(Path(sys.base_prefix), root / "usr/local")
    environment = {"PATH": ENVIRONMENT[0].removeprefix("PATH=")}  # nothing of this machine's, such as TMPDIR
    for step in ("update-ca-certificates", "ldconfig", "python3.11 -m ensurepip --default-pip"):
        subprocess.run(["chroot", root, *step.split()], env=environment, check=True, capture_output=True, timeout=300)
    subprocess.run(["tar", "-C", root, "-cf", archive, "."], check=True, timeout=300)
    shutil.rmtree(root)
    return archive


def _mirror() -> list[str]:
    """Where this machine gets Debian from; nothing where apt does not say: mmdebstrap knows the usual place."""
    question = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Label: Debian"]
    return subprocess.run(question, capture_output=True, text=True, check=True, timeout=60).stdout.split()[:1]


def _copy_python(base: Path, local: Path) -> None:
    shutil.copytree(base / "lib/python3.11", local / "lib/python3.11", symlinks=True, ignore=shutil.ignore_patterns(*NOT_IN_SLIM))
    shutil.copy2(base / "bin/python3.11", local / "bin")
    for library in (base / "lib").glob("libpython3.11.so*"):
        shutil.copy2(library, local / "lib")
    for name in ("python", "python3"):
        (local / "bin" / name).symlink_to("python3.11")
