# SPDX-License-Identifier: Apache-2.0
"""A client that asks about a recording in parts, and has them combined, gets an answer of one version or is told why not."""

from pathlib import Path
from typing import Any

import pytest
from running_server import Answer, Running, running
from small_models import FILES, Maker, answers, ask_until, on_trial, place_model, push_model, wait

from components.pusher.trials import fate

NAMELESS = "combine: name one version in the path of this request and of those for the parts, such as {}"


def ask_v2(server: Running, version: int | None, number: int = 0, width: int = 2) -> Answer:
    named = "" if version is None else f"/versions/{version}"
    return server.ask("POST", f"/v2/models/audio-gender.combine{named}/infer", {"inputs": parts_v2(number, width)})


def parts_v2(number: int, width: int) -> list[dict[str, Any]]:
    steps = [0.1 + number / 1000] * 4 * width
    return [
        {"name": "step_pooled", "shape": [1, 4, width], "datatype": "FP32", "data": steps},
        {"name": "step_weights", "shape": [1, 4], "datatype": "FP32", "data": [1.0] * 4},
    ]


def ask_v1(server: Running, version: int | None, signature: str = "combine", **inputs: Any) -> Answer:
    named = "" if version is None else f"/versions/{version}"
    inputs = inputs or {"step_pooled": [[[0.1, 0.1]]], "step_weights": [[1.0]]}
    return server.ask("POST", f"/v1/models/audio-gender{named}:predict", {"signature_name": signature, "inputs": inputs})


@pytest.mark.parametrize("settings", [{"share": 1.0, "requests": 20}, {"share": 1.0, "requests": 20, "shadow": True}])
def test_they_say_nothing_about_a_candidate(small: Maker, tmp_path: Path, settings: dict) -> None:
    old = push_model(small(), tmp_path)
    with running(tmp_path, poll_s=0.1) as server:
        new = place_model(small("wide"), tmp_path, {"canary": settings})
        wait(lambda: on_trial(server) == new)
        for number in range(10):
            answer = ask_v2(server, old, number)
            assert answer.status == 200 and answer.json["model_version"] == str(old)
        ask_until(server, lambda: answers(server) == new)  # which recordings decide
    assert fate(tmp_path, new).outcome == "promoted"


def test_what_two_versions_gave_is_no_fault_of_the_new_one(small: Maker, tmp_path: Path) -> None:
    old = push_model(small(), tmp_path)
    with running(tmp_path, poll_s=0.1) as server:
        new = push_model(small("wide"), tmp_path)
        wait(lambda: answers(server) == new)
        for number in range(10):
            assert ask_v2(server, old, number).status == 404
            mixed = ask_v2(server, new, number)
            assert mixed.status == 400
            assert mixed.error == f"combine: not what version {new} gives for a part; ask it about every part"
        assert ask_v2(server, new, width=3).status == 200
        assert server.server.versions.trial.tally.asked == 0
        assert answers(server) == new and server.figure("audio_gender_failed_over_total") == 0


def test_a_combine_that_fails_by_itself_is_no_fault_of_the_client(small: Maker, tmp_path: Path) -> None:
    version = push_model(small("failing to combine"), tmp_path)
    with running(tmp_path) as server:
        assert ask_v2(server, version).status == 500
        for wrong in (
            ask_v2(server, version, width=3),
            ask_v1(server, version, step_pooled=[[[0.1, 0.1]]], step_weights=[[1.0] * 2]),
        ):
            assert wrong.status == 400
            assert wrong.error == f"combine: not what version {version} gives for a part; ask it about every part"


def test_a_version_must_be_named(small: Maker, tmp_path: Path) -> None:
    version = push_model(small(), tmp_path)
    with running(tmp_path) as server:
        for answer in (ask_v1(server, None), ask_v2(server, None)):
            assert answer.status == 400
        assert ask_v2(server, None).error == NAMELESS.format(f"/v2/models/audio-gender.combine/versions/{version}/infer")
        assert ask_v1(server, None).error == NAMELESS.format(f"/v1/models/audio-gender/versions/{version}:predict")
        assert ask_v1(server, version).status == ask_v2(server, version).status == 200


def test_a_part_of_a_named_version_is_not_answered_by_another(small: Maker, tmp_path: Path) -> None:
    old = push_model(small(), tmp_path)
    with running(tmp_path, poll_s=0.1) as server:
        new = push_model(small("failing"), tmp_path)
        wait(lambda: answers(server) == new)
        assert ask_v1(server, None, "wav", wav=[{"b64": FILES[0]}]).status == 200  # of the version before
        failed = ask_v1(server, new, "wav", wav=[{"b64": FILES[0]}])
        assert failed.status == 500 and failed.error == f"version {new} failed; version {old} answers this if no version is named"
        assert server.server.versions.trial.tally.failures == 2  # which counts nevertheless
