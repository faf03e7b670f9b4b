# SPDX-License-Identifier: Apache-2.0
"""What a candidate in shadow costs the requests.

    python -m benchmarks.shadow --serving WORK/serving --requests 400 voice.wav …

Two servers of the same model on loopback, one of which has a copy of it as a candidate in shadow, are asked in turn, block by
block: a comparison goes on while the next request is answered, so single requests in turn would measure it in both. The client
asks again as soon as it has its answer, or after a pause.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.request_log import WARM_UP, Server, question
from components.pusher.candidate import place
from components.pusher.provenance import Provenance
from components.pusher.serving_folder import push, versions

BLOCK = 80
SETTLE_S = 6.0
"""After a block, in which what is queued is compared: else that would be measured with the other server."""


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--serving", type=Path, required=True)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--pause-s", type=float, default=0.0)
    parser.add_argument("recordings", nargs="+", type=Path)
    arguments = parser.parse_args()
    model = arguments.serving / str(versions(arguments.serving)[-1])
    shadow = {"push": {"canary": {"shadow": True, "share": arguments.share, "requests": 10**9}}}
    with tempfile.TemporaryDirectory() as folder:
        push(model, Path(folder), Provenance(by="benchmark", login=""), keep=None)
        place(model, Path(folder), Provenance(by="benchmark", login="", config=shadow))
        servers = (Server(arguments.serving), Server(Path(folder)))
        try:
            questions = [question(path.read_bytes(), "infer") for path in arguments.recordings]
            _wait_for_the_trial(servers[1])
            for server in servers:
                for number in range(WARM_UP):
                    server.ask(*questions[number % len(questions)])
            times: tuple[list[float], list[float]] = ([], [])
            used = [0.0, 0.0]
            for start in range(0, arguments.requests, BLOCK):
                for which, (server, taken) in enumerate(zip(servers, times, strict=True)):
                    before = server.cpu_s()
                    for number in range(start, start + BLOCK):
                        # Other bytes each time, so that each is drawn anew.
                        taken.append(server.ask(*_another(questions[number % len(questions)], number)))
                        time.sleep(arguments.pause_s)
                    used[which] += server.cpu_s() - before
                    time.sleep(SETTLE_S)
            for name, found in zip(("without", "in shadow"), times, strict=True):
                *_, ninth = statistics.quantiles(found, n=10)
                print(
                    f"{name}: median {statistics.median(found):.1f} ms, mean {statistics.mean(found):.1f}, 90 % below {ninth:.1f}"
                )
            print(f"ratio of medians {statistics.median(times[1]) / statistics.median(times[0]):.3f}", end=", ")
            print(f"of means {statistics.mean(times[1]) / statistics.mean(times[0]):.3f}")
            print(f"processor: {used[0]:.1f} s and {used[1]:.1f} s, ratio {used[1] / used[0]:.3f}")
            for name, server in zip(("without", "in shadow"), servers, strict=True):
                figures = dict(line.rsplit(" ", 1) for line in _metrics(server) if not line.startswith("#"))
                compared = {key: value for key, value in figures.items() if key.startswith("audio_gender_compared_total")}
                print(f"{name}: {float(figures['process_resident_memory_bytes']) / 2**20:.0f} MiB resident; {compared}")
        finally:
            for server in servers:
                server.process.terminate()
                server.process.wait()


def _another(asked: tuple[str, bytes, dict[str, str]], number: int) -> tuple[str, bytes, dict[str, str]]:
    """The same question with other bytes: an id of its own."""
    path, body, headers = asked
    size = int(headers["Inference-Header-Content-Length"])
    head = body[:size].replace(b'{"inputs"', b'{"id": "%d", "inputs"' % number)
    return path, head + body[size:], {"Inference-Header-Content-Length": str(len(head))}


def _metrics(server: Server) -> list[str]:
    server.connection.request("GET", "/metrics")
    return server.connection.getresponse().read().decode().splitlines()


def _wait_for_the_trial(server: Server) -> None:
    while not any(line.startswith("audio_gender_canary_version ") and not line.endswith(" 0.0") for line in _metrics(server)):
        time.sleep(0.5)


if __name__ == "__main__":
    main()
