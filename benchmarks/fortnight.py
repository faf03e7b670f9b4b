# SPDX-License-Identifier: Apache-2.0
"""A fortnight in fast motion through a real server on loopback: what happens by itself, against what was done to it.

    python -m benchmarks.fortnight --workdir WORK --first MODEL --bad MODEL --good MODEL --output FOLDER

Traffic is the test split of WORK's newest dataset. From day 5 it comes by telephone; on day 8 a bad model is pushed, on day 10 a
good one. Every evening `watch` looks at the last four days. The log has a clock of its own, by which a day lasts as long as its
requests take.
"""

import argparse
import asyncio
import http.client
import json
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from beam_jobs.console import say
from benchmarks.watch import test_clips, wav
from components.pusher.candidate import place
from components.pusher.provenance import Provenance
from components.pusher.serving_folder import push, versions
from components.pusher.trials import read_decisions
from components.robustness.degradations import generator, telephone
from components.server import request_log
from components.server.app import Server
from components.server.config import LogConfig, ServerConfig
from components.server.run import bind, listen
from components.watch.check import check
from components.watch.config import WatchConfig
from components.watch.page import render

DAYS, DAY_S = 14, 86_400.0
TELEPHONE_DAY, BAD_DAY, GOOD_DAY = 5, 8, 10
LOOKS_BACK_DAYS = 4
STRENGTH = 2
PUSHED = Provenance(
    by="gate", login="benchmark", config={"push": {"canary": {"share": 0.5, "requests": 50}, "rollback": {"requests": 50}}}
)


def main() -> None:
    """Prints what happened, day by day, and writes the pages of the first alarm and of the last day."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("workdir", "first", "bad", "good", "output"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--requests-per-day", type=int, default=150)
    arguments = parser.parse_args()
    serving, log = arguments.output / "serving", arguments.output / "requests"
    (arguments.output / "beam").mkdir(parents=True)
    clips = test_clips(arguments.workdir)
    sounds = [clip.pcm16.astype(np.float32) / 32768 for clip in clips]
    labels = {clip.id: clip.label for clip in clips}
    began_s = time.time() - DAYS * DAY_S
    clock = SimpleNamespace(now=began_s, monotonic=time.monotonic)
    clock.time = lambda: clock.now
    vars(request_log)["time"] = clock
    push(arguments.first, serving, PUSHED, keep=None)
    config = ServerConfig(
        serving,
        port=0,
        poll_s=0.5,
        log=LogConfig(log, share=1.0, days=60),
    )
    server = Server(config)
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    runner = asyncio.run_coroutine_threadsafe(listen(server, bind("127.0.0.1", 0)), loop).result(60)
    connection = http.client.HTTPConnection("127.0.0.1", runner.addresses[0][1], timeout=120)
    rng = np.random.default_rng(0)
    alarmed = False
    for day in range(1, DAYS + 1):
        if day in (BAD_DAY, GOOD_DAY):
            place(arguments.bad if day == BAD_DAY else arguments.good, serving, PUSHED)
            while not server.versions.trial:
                time.sleep(0.1)
        right, failed = 0, 0
        for number, drawn in enumerate(rng.choice(len(clips), arguments.requests_per_day)):
            clock.now = began_s + (day - 1 + number / arguments.requests_per_day) * DAY_S
            sound, clip = sounds[drawn], clips[drawn]
            if day >= TELEPHONE_DAY:
                sound = telephone(sound, clip.sample_rate_hz, STRENGTH, generator(0, "telephone", STRENGTH, clip.id))
            connection.request("POST", "/analyse?name=a.wav", wav(sound, clip.sample_rate_hz))
            reply = connection.getresponse()
            answer = json.loads(reply.read())
            failed += reply.status != 200
            classes = list(answer["probabilities"])
            right += max(classes, key=answer["probabilities"].get) == classes[labels[clip.id]]
        time.sleep(2)  # what is queued is written
        until_s = began_s + day * DAY_S
        since_s = max(began_s, until_s - LOOKS_BACK_DAYS * DAY_S)
        watched = check(serving, log, since_s, None, WatchConfig(), [], str(arguments.output / "beam"), until_s)
        result = watched.result
        expected = f"{result.accuracy.value:.3f}" if result.accuracy else "unknown"
        share = right / arguments.requests_per_day
        say(
            f"day {day}: {failed} failed; right {share:.3f}, expected in the last days {expected}; "
            f"versions {versions(serving)}, answers {server.versions.current.version}; {result.status}: "
            f"{'; '.join(result.reasons[:3])}"
        )
        if day == DAYS or (result.status == "alarm" and not alarmed):
            (arguments.output / f"day-{day:02d}.html").write_text(render(watched))
        alarmed |= result.status == "alarm"
    for decision in read_decisions(serving):
        say(f"version {decision.version}: {decision.outcome}: {decision.why}")
    server.versions.stop()
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(60)
    loop.call_soon_threadsafe(loop.stop)


if __name__ == "__main__":
    main()
