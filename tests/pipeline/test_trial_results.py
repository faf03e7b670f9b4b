# SPDX-License-Identifier: Apache-2.0
"""What a run came to whose model was a candidate, told from what servers wrote into the serving folder."""

from pathlib import Path

import pytest

from components.pusher.candidate import place, promote, withdraw_candidate
from components.pusher.provenance import Provenance
from components.pusher.serving_folder import push
from components.pusher.trials import Decision
from pipeline.result import RunResult, read_result, write_result
from pipeline.standing import standing_of
from pipeline.workdir import WorkDir

RUN = "20261127-000000"


@pytest.fixture
def workdir(tmp_path: Path) -> WorkDir:
    return WorkDir.at(tmp_path / "work")


def provenance(model: Path, content: str, run_id: str) -> Provenance:
    model.mkdir(exist_ok=True)
    (model / "saved_model.pb").write_text(content)
    return Provenance(by="gate", login="a@b", run_id=run_id)


@pytest.mark.parametrize("outcome", ["none", "promoted", "rolled back", "superseded"])
def test_a_result_says_what_became_of_the_candidate(workdir: WorkDir, tmp_path: Path, outcome: str) -> None:
    model = tmp_path / "model"
    first = push(model, workdir.serving, provenance(model, "first", "r0"), keep=None).version
    tried = place(model, workdir.serving, provenance(model, "second", RUN)).version
    result = RunResult(
        run_id=RUN, verdict="on trial", reason=f"to be version {tried}: 1 of 1 threshold hold", metrics={}, classes=["a", "b"],
        serving_version=str(first), trial_version=str(tried), baseline_version=str(first), inputs_digest="",
        folders={"serving": str(workdir.serving)}, nodes=[], seconds=1,
    )  # fmt: skip
    (workdir.reports / RUN).mkdir(parents=True)
    write_result(workdir, result)
    match outcome:
        case "promoted":
            promote(workdir.serving, Decision.now(tried, "promoted", "agrees", first, 20, "root@pod"))
        case "rolled back":
            withdraw_candidate(workdir.serving, Decision.now(tried, "rolled back", "slow", first, 20, "root@pod"))
        case "superseded":
            newer = push(model, workdir.serving, provenance(model, "third", "r2"), keep=None).version

    found = read_result(workdir, RUN)
    standing = standing_of(workdir, found, servable=True)

    assert standing.verdict == found.verdict
    match outcome:
        case "none":
            assert found.verdict == "on trial" and f"version {first} stays in serving" in standing.next_step
            assert [what for what, _ in standing.commands] == ["to push it now", "reject"]
        case "promoted":
            assert (found.verdict, found.serving_version) == ("pushed", str(tried))
            assert f"was pushed as version {tried} after a trial as candidate. It is in serving" in standing.next_step
        case "rolled back":
            assert (found.verdict, found.decision.by, found.decision.note) == ("rejected", "serve", "slow")
            assert standing.next_step.startswith("Rejected by serve on 20")
        case "superseded":
            assert found.verdict == "superseded"
            assert f"nothing was decided about it: version {newer} came into serving" in standing.next_step
