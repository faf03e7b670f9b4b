# SPDX-License-Identifier: Apache-2.0
"""A person's decision where the pipeline runs on other machines: the serving folder is all that Pusher and Decision share."""

from pathlib import Path

import pytest
from keys import make_keys, verified_outside
from tfx.types import standard_artifacts

from beam_jobs.errors import UserError
from components.decision.executor import Executor
from components.model_digest import model_digest
from components.pusher.candidate import place
from components.pusher.pending import Candidate, keep_pending, pending_runs
from components.pusher.provenance import Provenance
from components.pusher.serving_folder import push, read_provenance, versions
from components.pusher.trials import candidate, fate
from components.pusher.withdrawn import read_withdrawn


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables/variables.index").write_bytes(b"weights")
    return folder


@pytest.fixture
def serving(tmp_path: Path) -> Path:
    folder = tmp_path / "serving"
    folder.mkdir()
    return folder


def provenance(run_id: str, model: Path) -> Provenance:
    known = Provenance(by="gate", login="pod", blessed=True, run_id=run_id, model_digest=model_digest(model))
    return known.model_copy(update={"dataset_fingerprint": "d1", "config_digest": "c1"})


def wait(model: Path, serving: Path, run_id: str = "r1", compared_with: str = "") -> None:
    keep_pending(
        model, serving, Candidate(provenance=provenance(run_id, model), compared_with=compared_with, waiting_for="review")
    )


def decide(
    serving: Path,
    action: str,
    run_id: str = "",
    by: str = "Ada",
    note: str = "",
    version: int = 0,
    override: int = 0,
    private_key: str = "",
):
    pushed = standard_artifacts.PushedModel()
    pushed.uri = str(serving.parent / "pushed")
    given = {"action": action, "run_id": run_id, "by": by, "note": note, "version": version, "override": override}
    Executor(Executor.Context(pipeline_run_id="d7")).Do(
        {},
        {"pushed_model": [pushed]},
        {"serving_uri": str(serving), "keep": 5, "private_key": private_key, "openlineage_url": "", **given},
    )
    return pushed


def test_an_approved_model_is_served_with_its_own_provenance_and_waits_no_more(model, serving):
    wait(model, serving)
    assert versions(serving) == []
    pushed = decide(serving, "approve", "r1", note="listened to all mistakes")
    (version,) = versions(serving)
    stored = read_provenance(serving, version)
    assert (stored.action, stored.by, stored.note, stored.run_id) == ("approved", "Ada", "listened to all mistakes", "r1")
    assert (stored.dataset_fingerprint, stored.config_digest, stored.blessed) == ("d1", "c1", True)
    assert stored.login.startswith("run d7 by ")
    assert stored.model_digest == model_digest(model)
    assert pushed.get_string_custom_property("pushed_version") == str(version)
    assert pending_runs(serving) == []


def test_a_rejected_model_is_gone_and_serving_is_as_it_was(model, serving):
    wait(model, serving)
    with pytest.raises(UserError, match="say why"):
        decide(serving, "reject", "r1")
    assert pending_runs(serving) == ["r1"]
    assert decide(serving, "reject", "r1", note="hums").get_int_custom_property("pushed") == 0
    assert (pending_runs(serving), versions(serving)) == ([], [])


def test_a_model_that_was_compared_with_another_one_needs_an_override_with_a_reason(model, serving):
    wait(model, serving)
    first = push(model, serving, provenance("r0", model), keep=5).version
    with pytest.raises(UserError, match=f"compared with version none, and version {first} is in serving now"):
        decide(serving, "approve", "r1")
    with pytest.raises(UserError, match="an override needs a reason"):
        decide(serving, "approve", "r1", override=1)
    decide(serving, "approve", "r1", override=1, note="r0 was a test")
    assert read_provenance(serving, versions(serving)[-1]).override


def test_an_approval_that_was_cut_off_after_its_push_is_not_pushed_again(model, serving):
    wait(model, serving)
    decide(serving, "approve", "r1")
    wait(model, serving)
    decide(serving, "approve", "r1")
    assert len(versions(serving)) == 1
    assert pending_runs(serving) == []


def test_what_is_approved_is_signed_and_a_rollback_goes_to_what_was_signed_alone(model, serving, tmp_path):
    pytest.importorskip("model_signing", reason="the optional package model-signing is not installed")
    keys = make_keys(tmp_path / "keys")
    unsigned = push(model, serving, provenance("r0", model), keep=5).version
    wait(model, serving, compared_with=str(unsigned))
    decide(serving, "approve", "r1", private_key=str(keys.private))
    signed = versions(serving)[-1]
    assert verified_outside(serving / str(signed), keys.public)

    with pytest.raises(UserError, match=f"{unsigned}: it is not signed"):
        decide(serving, "rollback", private_key=str(keys.private))
    assert versions(serving) == [unsigned, signed]
    push(model, serving, provenance("r2", model), keep=5)
    decide(serving, "rollback", private_key=str(keys.private))
    assert verified_outside(serving / str(versions(serving)[-1]), keys.public)


def test_a_rollback_brings_the_version_before(model, serving):
    first = push(model, serving, provenance("r0", model), keep=5).version
    push(model, serving, provenance("r1", model), keep=5)
    decide(serving, "rollback")
    stored = read_provenance(serving, versions(serving)[-1])
    assert (stored.rolled_back_to, stored.by) == (first, "Ada")


def test_a_model_that_waits_again_takes_the_place_of_the_one_before(model, serving):
    wait(model, serving)
    (model / "saved_model.pb").write_bytes(b"another")
    wait(model, serving)
    decide(serving, "approve", "r1")
    assert (serving / str(versions(serving)[-1]) / "saved_model.pb").read_bytes() == b"another"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"action": "approve", "run_id": "r2"}, "no model of run r2 is waiting; there are r1"),
        ({"action": "approve", "run_id": "../r1"}, "no model of run ../r1 is waiting"),
        ({"action": "approve"}, r"no model of run \(none given\) is waiting"),
        ({"action": "approve", "run_id": "r1", "by": " "}, "by is empty"),
        ({"action": "rollback"}, "no version is in serving"),
        ({"action": "delete"}, "give approve, reject or rollback"),
    ],
)
def test_a_decision_that_makes_no_sense_is_one_line_and_changes_nothing(given, said, model, serving):
    wait(model, serving)
    with pytest.raises(UserError, match=said):
        decide(serving, **given)
    assert (pending_runs(serving), versions(serving)) == (["r1"], [])


def test_a_rejected_model_is_remembered_by_its_files(model, serving):
    wait(model, serving)
    decide(serving, "reject", "r1", note="deaf to low voices")
    (known,) = read_withdrawn(serving).values()
    assert (known.model_digest, known.run_id, known.by) == (model_digest(model), "r1", "Ada")


def test_a_waiting_model_that_was_changed_on_disk_is_not_approved(model, serving):
    wait(model, serving)
    (serving / ".waiting/r1/model/variables/variables.index").write_bytes(b"weightS")
    with pytest.raises(UserError, match="its files were changed after they were measured; nothing was pushed"):
        decide(serving, "approve", "r1")
    assert versions(serving) == []
    assert pending_runs(serving) == ["r1"]
    assert not list(serving.glob(".coming-*"))


def test_a_candidate_is_approved_or_rejected_where_no_server_decides(model, serving):
    first = push(model, serving, provenance("r0", model), keep=5).version
    (model / "saved_model.pb").write_bytes(b"another graph")
    tried = place(model, serving, provenance("r1", model)).version
    decide(serving, "approve", "r1", note="saw KServe's figures")
    stored = read_provenance(serving, tried)
    assert (stored.action, stored.by, stored.version) == ("approved", "Ada", tried)
    assert versions(serving) == [first, tried] and fate(serving, tried).why == stored.note == "saw KServe's figures"

    (model / "saved_model.pb").write_bytes(b"a third graph")
    tried = place(model, serving, provenance("r2", model)).version
    decide(serving, "reject", "r2", note="slow")
    assert len(versions(serving)) == 2 and candidate(serving) is None
    assert read_withdrawn(serving)[model_digest(model)].note == "slow"
    decide(serving, "reject", "r2", note="slow")  # once more, as after a cut
