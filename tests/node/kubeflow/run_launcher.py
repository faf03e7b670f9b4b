# SPDX-License-Identifier: Apache-2.0
"""The launcher in a step's pod: `run_launcher.py RECORD CACHE_KEY EXECUTOR_INPUT COMMAND …`: `launcher.py` with a real store."""

import json
import subprocess
import sys
import time
from pathlib import Path

from launcher import LOGS, Launcher, Step, _command_line, _output_parameters, artifacts, mirror
from store import S3Store

ROOT = Path("/")


def main(record: str, key: str, given: str, *command: str) -> int:
    """Downloads, runs the command, uploads and records. Returns the command's exit status."""
    executor_input = json.loads(given)
    launcher = Launcher(ROOT)
    launcher.store = S3Store()
    launcher._num_artifacts = time.time_ns() // 1000  # no two pods count alike
    for artifact in artifacts(executor_input["inputs"]).values():
        launcher.store.download(artifact["uri"], mirror(ROOT, artifact["uri"]))
    for artifact in artifacts(executor_input["outputs"]).values():
        mirror(ROOT, artifact["uri"]).parent.mkdir(parents=True, exist_ok=True)
    line = _command_line({"command": list(command)}, executor_input)
    with mirror(ROOT, artifacts(executor_input["outputs"])[LOGS]["uri"]).open("w") as log:
        process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert process.stdout
        for text in process.stdout:
            print(text, end="", flush=True)
            log.write(text)
    if status := process.wait():
        return status if status > 0 else 128 - status
    outputs = launcher._publish(executor_input["outputs"], ROOT, ml_metadata=True)
    step = Step("succeeded", outputs=outputs, parameters=_output_parameters(executor_input["outputs"]))
    for name in filter(None, (record, f"cache/{key}" if key else "")):
        launcher.store.write_step(name, step)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
