# SPDX-License-Identifier: Apache-2.0
"""A version is tried and watched by the settings that it was pushed with, though this release would not take all of them."""

from pathlib import Path
from typing import Any

import pytest
from test_serving_folder import make_model

from components.pusher.candidate import place, promote, push_config
from components.pusher.config import PushConfig, RollbackConfig
from components.pusher.provenance import Provenance
from components.pusher.serving_folder import push, read_provenance, roll_back, versions
from components.pusher.trials import Decision

EARLIER: dict[str, Any] = {
    "mode": "canary",
    "canary": {"share": 0.5, "shadow": True, "requests": 30},
    "rollback": {"requests": 60},
    "keep": 0,
    "openlineage_url": "http://marquez:5000",
}
"""Which 0.1 and development versions after it took."""


def provenance(settings: object) -> Provenance:
    return Provenance(by="gate", login="test@here", run_id="r", version=7, config={"push": settings})


def test_settings_of_an_earlier_release_hold(capsys: pytest.CaptureFixture[str]) -> None:
    found = push_config(provenance(EARLIER))
    assert found == PushConfig.model_validate({**EARLIER, "keep": 1})
    assert push_config(provenance({"keep": 0})) == PushConfig(keep=1)
    assert push_config(provenance({"keep": 0, "rollback": None})).keep == 0
    assert capsys.readouterr().err == ""


def test_settings_that_are_not_understood_are_named_and_the_others_hold(capsys: pytest.CaptureFixture[str]) -> None:
    found = push_config(provenance({**EARLIER, "canary": {"share": 0.5, "of": "later"}, "new": 1}))
    assert found == PushConfig(mode="canary", rollback=RollbackConfig(requests=60), keep=1, openlineage_url="http://marquez:5000")
    said = "version 7 was made by another release of this program: push.canary, push.new cannot be used, defaults apply"
    assert said in " ".join(capsys.readouterr().err.split())
    assert push_config(provenance(None)) == PushConfig()


def test_one_that_is_promoted_or_restored_keeps_them_and_one_before_it(tmp_path: Path) -> None:
    serving, by = tmp_path / "serving", provenance(EARLIER).model_copy(update={"version": 0})
    for name in "abc":
        push(make_model(tmp_path / name, name), serving, by, keep=None)
    placed = place(make_model(tmp_path / "d", "d"), serving, by)
    promote(serving, Decision.now(placed.version, "promoted", "agrees"))
    assert len(versions(serving)) == 2 and versions(serving)[-1] == placed.version
    back = roll_back(serving, None, "ada", "ada@here", "noise")
    stored = read_provenance(serving, back.version)
    assert stored and stored.config["push"] == EARLIER and push_config(stored).rollback == RollbackConfig(requests=60)
