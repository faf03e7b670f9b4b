# SPDX-License-Identifier: Apache-2.0
"""Takes the pictures of docs/images that show pages: the report on a run, and the page to try its model.

`PYTHONPATH=tests python -m tools.docs.screenshots WORK RECORDING`, with Chromium on the PATH. Not part of `make docs`:
pixels differ between machines, so take them again when the pages change.
"""

import base64
import socket
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from chromium import Chromium, wait_for

IMAGES = Path(__file__).parents[2] / "docs/images"
WIDTH, HEIGHT = 1000, 640


def take(browser: Chromium, path: Path) -> None:
    """Writes what is seen without scrolling."""
    clip = {"x": 0, "y": 0, "width": WIDTH, "height": HEIGHT, "scale": 1}
    image = browser.send("Page.captureScreenshot", format="png", clip=clip)
    path.write_bytes(base64.b64decode(image["data"]))


def main(work: Path, recording: Path) -> None:
    """Takes both pictures."""
    report = sorted(work.glob("reports/*/report.html"))[-1].resolve()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serving = ["--serving", str(work / "serving"), "--port", str(port)]
    server = subprocess.Popen([sys.executable, "-m", "pipeline", "serve", *serving])
    with tempfile.TemporaryDirectory() as folder:
        browser = Chromium(Path(folder) / "profile", recording)
        try:
            browser.send("Emulation.setScrollbarsHidden", hidden=True)
            browser.show(report.as_uri(), WIDTH, dark=False)
            take(browser, IMAGES / "report.png")
            wait_for(lambda: is_ready(port))
            browser.show(f"http://127.0.0.1:{port}/", WIDTH, dark=False)
            browser.choose_file("file", recording.resolve())
            wait_for(lambda: browser.text("label"))
            take(browser, IMAGES / "try-it.png")
        finally:
            browser.close()
            server.terminate()
            server.wait(60)


def is_ready(port: int) -> bool:
    """Whether the server answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
