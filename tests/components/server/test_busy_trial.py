# SPDX-License-Identifier: Apache-2.0
"""A server that is never idle decides about a candidate in proportion to its load, at a bounded cost."""

import threading
import time
from pathlib import Path

import pytest
from running_server import running
from small_models import FILES, Maker, ask, on_trial, place_model, push_model, wait

from components.pusher.trials import fate
from components.server.trial import BUSY_COST


@pytest.mark.parametrize(
    ("present", "tried", "requests", "outcome"),
    [
        ("good", "good", 200, "promoted"),
        # Its inferences take so long that workers are never idle, not for 20 ms.
        pytest.param("slow", "slow", 20, "promoted", marks=pytest.mark.slow),
        pytest.param("good", "contrary", 200, "rolled back", marks=pytest.mark.slow),
    ],
)
def test_under_constant_load_a_trial_ends_in_minutes(
    small: Maker, tmp_path: Path, present: str, tried: str, requests: int, outcome: str
) -> None:
    push_model(small(present), tmp_path)
    with running(tmp_path, poll_s=0.1) as server:
        new = place_model(small(tried), tmp_path, {"canary": {"share": 0.5, "requests": requests}})
        wait(lambda: on_trial(server) == new)
        trial, limits = server.server.versions.trial, server.server.limits
        ended, asked = threading.Event(), [0] * 6

        def client(number: int) -> None:
            while not ended.is_set():
                ask(server, FILES[(asked[number] + 33 * number) % len(FILES)])
                asked[number] += 1

        clients = [threading.Thread(target=client, args=(number,)) for number in range(len(asked))]
        for thread in clients:
            thread.start()
        try:
            started = time.monotonic()
            while fate(tmp_path, new) is None and time.monotonic() - started < 120:
                time.sleep(0.2)
            compared, spent_s, worked_s = trial.tally.compared, trial.busy_s, limits.worked_s() - trial.began_s
        finally:
            ended.set()
            for thread in clients:
                thread.join()

        decision = fate(tmp_path, new)
        assert decision, f"{compared} comparisons in two minutes, of {sum(asked)} requests"
        assert decision.outcome == outcome
        assert decision.requests >= requests
        # While clients wait, comparisons take that part of the workers' time, and at most one of them more.
        assert spent_s <= BUSY_COST * worked_s + 0.5
