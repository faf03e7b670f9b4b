# SPDX-License-Identifier: Apache-2.0
"""What `serve --log` costs a request.

    python -m benchmarks.request_log --serving WORK/serving --requests 400 voice.wav …

Two servers of the same model on loopback, one of which keeps something of every request, are asked the same recording one after
the other, in an order that is drawn each time. So both have the same machine; the ratio of each pair is what counts, and the
processor's time of each server, in which a busy machine is hardly seen.
"""

import argparse
import http.client
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WARM_UP = 20


class Server:
    """`serve` as a process, and a connection to it."""

    def __init__(self, serving: Path, *options: str) -> None:
        command = [sys.executable, "-m", "pipeline", "serve", "--serving", str(serving), "--port", "0", *options]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr
        while not (found := re.search(r"http://127.0.0.1:(\d+)/", line := self.process.stderr.readline())):
            if not line:
                raise SystemExit("the server ended")
        self.connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=120)

    def cpu_s(self) -> float:
        """Seconds of the processor that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def ask(self, path: str, body: bytes, headers: dict[str, str]) -> float:
        """Milliseconds until the answer is there."""
        started = time.perf_counter()
        self.connection.request("POST", path, body, headers)
        answer = self.connection.getresponse()
        answer.read()
        assert answer.status == 200
        return 1000 * (time.perf_counter() - started)


def question(content: bytes, protocol: str) -> tuple[str, bytes, dict[str, str]]:
    """Path, body and headers."""
    if protocol == "analyse":
        return "/analyse?name=voice.wav", content, {}
    size = {"binary_data_size": len(content) + 4}
    head = json.dumps({"inputs": [{"name": "wav", "shape": [1], "datatype": "BYTES", "parameters": size}]}).encode()
    body = head + len(content).to_bytes(4, "little") + content
    return "/v2/models/audio-gender/infer", body, {"Inference-Header-Content-Length": str(len(head))}


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--serving", type=Path, required=True)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--share", default="1")
    parser.add_argument("recordings", nargs="+", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        servers = (Server(arguments.serving), Server(arguments.serving, "--log", folder, "--log-share", arguments.share))
        try:
            for protocol in ("analyse", "infer"):
                questions = [question(path.read_bytes(), protocol) for path in arguments.recordings]
                times: tuple[list[float], list[float]] = ([], [])
                for number in range(WARM_UP + arguments.requests):
                    if number == WARM_UP:
                        before = [server.cpu_s() for server in servers]
                    asked = questions[number % len(questions)]
                    for which in random.sample((0, 1), 2):
                        taken = servers[which].ask(*asked)
                        if number >= WARM_UP:
                            times[which].append(taken)
                ratios = [kept / usual for usual, kept in zip(*times, strict=True)]
                for name, found in zip(("without", "with"), times, strict=True):
                    lower, median, _ = statistics.quantiles(found, n=4)
                    print(f"{protocol} {name}: median {median:.1f} ms, lower quartile {lower:.1f} ms of {len(found)}")
                used = [server.cpu_s() - past for server, past in zip(servers, before, strict=True)]
                print(f"{protocol}: median ratio of a pair {statistics.median(ratios):.3f}, of CPU time {used[1] / used[0]:.3f}")
                print(f"{protocol}: CPU time {1000 * used[0] / arguments.requests:.1f} ms a request without", flush=True)
        finally:
            for server in servers:
                server.process.terminate()
                server.process.wait()


if __name__ == "__main__":
    main()
