# SPDX-License-Identifier: Apache-2.0
"""A new version in serving that fails or is slow goes out again by itself; what is no fault of its own does not count."""

from pathlib import Path

import pytest
from running_server import running
from small_models import FILES, POISON, Maker, answers, ask, ask_until, push_model, wait

from components.pusher.provenance import Provenance
from components.pusher.serving_folder import push, read_provenance, versions
from components.pusher.trials import read_decisions
from components.pusher.withdrawn import read_withdrawn

BOUNDS = {"rollback": {"requests": 60}}


@pytest.mark.parametrize(
    ("kind", "action", "why"),
    [
        ("failing", "pushed", " requests failed (assertion failed: [out of memory]"),
        ("NaN", "approved", "answers with NaN or infinity"),
        pytest.param("slow", "pushed", "answers in ", marks=pytest.mark.slow),
    ],
)
def test_one_that_breaks_its_bounds_is_rolled_back_and_no_client_sees_it_fail(
    small: Maker, tmp_path: Path, kind: str, why: str, action: str
) -> None:
    old = push_model(small(), tmp_path)
    with running(tmp_path, poll_s=0.1) as server:
        bad = push_model(small(kind), tmp_path, BOUNDS if kind != "slow" else {"rollback": {"requests": 2000}}, action=action)
        wait(lambda: answers(server) == bad)

        ask_until(server, lambda: answers(server) == old or len(versions(tmp_path)) == 3)  # every answer is 200

        wait(lambda: len(versions(tmp_path)) == 3 and answers(server) == versions(tmp_path)[-1])
        back = versions(tmp_path)[-1]
        assert server.figure("audio_gender_rollbacks_total") == 1
        assert (server.figure("audio_gender_failed_over_total") > 0) == (kind != "slow")
        assert set(ask_until(server, lambda: True)) == {str(back)}
    stored, of_bad = read_provenance(tmp_path, back), read_provenance(tmp_path, bad)
    assert (stored.action, stored.by, stored.rolled_back_to) == ("rolled back", "serve", old)
    assert why in stored.note
    assert read_withdrawn(tmp_path)[of_bad.model_digest].note == stored.note  # so no run pushes it again by itself
    decision = read_decisions(tmp_path)[-1]
    assert (decision.version, decision.outcome, decision.against, decision.why) == (bad, "rolled back", old, stored.note)


def test_requests_that_no_version_can_answer_do_not_count(small: Maker, tmp_path: Path) -> None:
    push_model(small("poisoned"), tmp_path)
    with running(tmp_path, poll_s=0.1) as server:
        new = push_model(small("poisoned"), tmp_path, BOUNDS)
        wait(lambda: answers(server) == new)
        for number in range(30):
            ask(server, POISON, status=500)
            ask(server, FILES[number])
        assert answers(server) == new and server.figure("audio_gender_rollbacks_total") == 0
    assert versions(tmp_path)[-1] == new and not read_decisions(tmp_path)


def test_a_good_one_stays_and_the_one_before_is_let_go(small: Maker, tmp_path: Path) -> None:
    push_model(small(), tmp_path)
    with running(tmp_path, poll_s=0.1) as server:
        new = push_model(small("contrary"), tmp_path, BOUNDS)  # other labels are no fault: the gate has said which is right
        wait(lambda: answers(server) == new)
        ask_until(server, lambda: server.server.versions.trial is None)
        assert answers(server) == new
        assert server.figure('audio_gender_compared_total{outcome="compared"}') > 0
    assert versions(tmp_path)[-1] == new


@pytest.mark.parametrize("settings", [{"rollback": None}, None])
def test_without_bounds_or_a_configuration_nothing_is_rolled_back(small: Maker, tmp_path: Path, settings: dict | None) -> None:
    push_model(small(), tmp_path)
    with running(tmp_path, poll_s=0.1) as server:
        if settings:
            new = push_model(small("failing"), tmp_path, settings)
        else:  # as by hand
            new = push(small("failing"), tmp_path, Provenance(by="", login=""), keep=None).version
            (tmp_path / str(new) / "assets.extra" / "provenance.json").unlink()
        wait(lambda: answers(server) == new)
        for file in FILES[:10]:
            ask(server, file, status=500)
        assert answers(server) == new


def test_the_version_before_answers_though_the_folder_holds_it_no_more(small: Maker, tmp_path: Path) -> None:
    old = push_model(small(), tmp_path)
    with running(tmp_path, poll_s=0.1) as server:
        provenance = Provenance(by="gate", login="", config={"push": BOUNDS})
        bad = push(small("failing"), tmp_path, provenance, keep=0).version
        wait(lambda: answers(server) == bad)
        ask_until(server, lambda: answers(server) == old)
        assert versions(tmp_path) == [bad]
        assert set(ask_until(server, lambda: True)) == {str(old)}
