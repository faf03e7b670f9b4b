# SPDX-License-Identifier: Apache-2.0
"""A server that is killed while it promotes, withdraws or rolls back: the next one ends that work and undoes no decision."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from test_killed import ACTIONS, exit_status, in_clean_process, make_model, remains
from test_serving_folder import PROVENANCE

from components.model_digest import model_digest
from components.pusher.candidate import finish_interrupted, place, promote, withdraw_candidate
from components.pusher.provenance import Provenance
from components.pusher.serving_folder import locked, push, put_back, read_provenance, versions
from components.pusher.trials import SERVER, Decision, Outcome, candidate, fate, remember_if_possible
from components.pusher.withdrawn import read_withdrawn


def decision(version: int, outcome: Outcome, against: int = 0) -> Decision:
    return Decision.now(version, outcome, "measured", against, 30, "serve@host")


def promotes(models: Path, serving: Path) -> None:
    promote(serving, decision(candidate(serving), "promoted"))


def withdraws(models: Path, serving: Path) -> None:
    withdraw_candidate(serving, decision(candidate(serving), "rolled back"))


def rolls_back(models: Path, serving: Path) -> None:
    """As `TriedVersions._put_back`."""
    before, bad = versions(serving)
    with locked(serving):
        stored = put_back(serving, before, Provenance(by=SERVER, login="serve@host", note="measured"), None)
        remember_if_possible(serving, decision(bad, "rolled back", stored.rolled_back_to))


DECISIONS: dict[str, Callable[[Path, Path], None]] = {"promotes": promotes, "withdraws": withdraws, "rolls back": rolls_back}


def kill_at_every_moment(action: str, folder: Path) -> list:
    """What holds after the next server has begun: newest action, candidate there, whether its model is withdrawn, its fate."""
    models, before = folder / "models", folder / "serving"
    for content in "abc":
        make_model(models / content, content)
    for content in "ab":
        push(models / content, before, PROVENANCE, keep=5)
    if action == "rolls back":
        tried, content = versions(before)[-1], "b"
    else:
        tried, content = place(models / "c", before, PROVENANCE).version, "c"
    ACTIONS.update(DECISIONS)
    outcomes, moment, killed = [], 0, -signal.SIGKILL
    while killed == -signal.SIGKILL:
        moment += 1
        serving = folder / f"serving-{moment}"
        killed = exit_status(action, models, before, serving, moment)
        decided = model_digest(models / content) in read_withdrawn(serving)

        finish_interrupted(serving)

        newest = read_provenance(serving, versions(serving)[-1])
        there, known = candidate(serving), fate(serving, tried)
        told = [known.outcome if known else "", known.why if known else ""] if action != "rolls back" else []
        outcomes.append([newest.action, there is not None, decided, *told])
        with locked(serving):
            pass
        assert remains(serving) <= {".canary.json", ".candidate", ".waiting/r1"}, remains(serving)
    assert killed == 0 and moment > 8, (killed, moment)
    return outcomes


@pytest.mark.parametrize("action", DECISIONS)
def test_the_next_server_ends_what_was_decided(tmp_path: Path, action: str) -> None:
    outcomes = in_clean_process("found", action, tmp_path, module="test_killed_servers")["outcomes"]
    done = {
        "promotes": ["promoted", False, False, "promoted", "measured"],
        "withdraws": ["pushed", False, True, "rolled back", "measured"],
        "rolls back": ["rolled back", False, True],  # killed before it was remembered, the version's provenance says it
    }[action]
    undecided = ["pushed", True, False, "", ""] if action != "rolls back" else ["pushed", False, False]
    assert done in outcomes and outcomes[-1] == done
    assert [one for one in outcomes if one not in (done, undecided)] == []


def found(action: str, folder: Path) -> dict:
    sys.stderr.write(f"{action}\n")
    return {"outcomes": kill_at_every_moment(action, folder)}
