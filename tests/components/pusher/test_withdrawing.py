# SPDX-License-Identifier: Apache-2.0
"""The withdrawal of a candidate whose folder cannot be removed, which a server tries again every minute."""

import subprocess
from pathlib import Path

import pytest
from test_serving_folder import PROVENANCE, make_model

from components.pusher.candidate import place, withdraw_candidate
from components.pusher.serving_folder import push
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
