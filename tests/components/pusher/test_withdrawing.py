# SPDX-License-Identifier: Apache-2.0
"""The withdrawal of a candidate, by a server that may be hindered in it and while runs push the same model."""

import subprocess
from functools import partial
from pathlib import Path

import pytest
from test_serving_folder import PROVENANCE, make_model

from beam_jobs.errors import UserError
from components.pusher.candidate import place, withdraw_candidate
from components.pusher.serving_folder import push, versions
from components.pusher.trials import CANDIDATE_FOLDER, Decision, candidate, read_decisions


def test_a_withdrawal_that_is_tried_again_is_remembered_once(tmp_path: Path) -> None:
    serving = tmp_path / "serving"
    push(make_model(tmp_path / "a", "a"), serving, PROVENANCE, keep=5)
    version = place(make_model(tmp_path / "b", "b"), serving, PROVENANCE).version
    folder = str(serving / CANDIDATE_FOLDER / str(version))
    if subprocess.run(["mount", "--bind", folder, folder], capture_output=True).returncode:
        pytest.skip("cannot mount, so nothing keeps this process from renaming a folder")
    try:
        for _ in range(3):
            with pytest.raises(OSError, match="busy"):
                withdraw_candidate(serving, Decision.now(version, "rolled back", "measured"))
    finally:
        subprocess.run(["umount", folder], check=True)
    withdraw_candidate(serving, Decision.now(version, "rolled back", "measured"))
    assert candidate(serving) is None
    assert [decision.version for decision in read_decisions(serving)] == [version]


@pytest.mark.parametrize("again", [place, partial(push, keep=5)], ids=["as a candidate", "into serving"])
def test_a_model_that_is_withdrawn_while_a_run_pushes_it_does_not_come_back(tmp_path: Path, again) -> None:
    serving = tmp_path / "serving"
    first = push(make_model(tmp_path / "a", "a"), serving, PROVENANCE, keep=5).version
    version = place(make_model(tmp_path / "b", "b"), serving, PROVENANCE).version
    withdraw_candidate(serving, Decision.now(version, "rolled back", "measured"))  # after the run asked whether it may

    with pytest.raises(UserError, match=r"this model was rolled back by serve on .*: measured; nothing was pushed"):
        again(tmp_path / "b", serving, PROVENANCE)

    assert candidate(serving) is None and versions(serving) == [first]
    assert not list(serving.glob(".coming*")) and not list((serving / CANDIDATE_FOLDER).iterdir())


def test_a_damaged_candidate_gives_way_to_the_whole_model(tmp_path: Path) -> None:
    serving = tmp_path / "serving"
    push(make_model(tmp_path / "a", "a"), serving, PROVENANCE, keep=5)
    known = place(make_model(tmp_path / "b", "b"), serving, PROVENANCE)
    asked = PROVENANCE.model_copy(update={"model_digest": known.model_digest})
    assert place(tmp_path / "b", serving, asked).version == known.version  # its trial goes on
    (serving / CANDIDATE_FOLDER / str(known.version) / "saved_model.pb").write_text("half")

    assert place(tmp_path / "b", serving, asked).version > known.version
