# SPDX-License-Identifier: Apache-2.0
"""What cannot be decided is refused with one line and changes nothing; what can is in the metadata store for ever.

The runs here are a few records in a real metadata store; `test_review_session.py` decides about real ones.
"""

import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from ml_metadata import MetadataStore
from openlineage_server import openlineage_server

from components.model_digest import model_digest
from components.pusher import lineage_events
from components.pusher.provenance import Provenance, login
from components.pusher.serving_folder import push, read_provenance, roll_back, versions
from components.pusher.withdrawn import read_withdrawn
from pipeline.lineage import list_decisions, record_decision
from pipeline.result import ReviewDecision, read_result, read_results
from pipeline.run import _serving_changes
from pipeline.runs import list_runs
from pipeline.workdir import WorkDir

RUN = "20261123-000000"


@pytest.fixture
def refused(command, workdir, read_folder) -> Callable[..., str]:
    """A function that runs the console command and returns the line with which it refuses, having changed nothing."""

    def run(*arguments: str) -> str:
        before = read_folder(workdir.reports) | read_folder(workdir.serving)
        known = list_decisions(workdir) if workdir.metadata.exists() else []
        status, said = command(*arguments)
        assert status == 2
        errors = [line for line in said.splitlines() if not line.startswith("  opening the metadata store")]
        assert len(errors) == 1
        assert read_folder(workdir.reports) | read_folder(workdir.serving) == before
        assert (list_decisions(workdir) if workdir.metadata.exists() else []) == known
        return errors[0].removeprefix("error: ")

    return run


def serve(workdir: WorkDir, model: Path, **provenance) -> str:
    return str(push(model, workdir.serving, Provenance(**{"by": "gate", "login": "x@y", **provenance}), keep=5).version)


# Approve.


@pytest.mark.parametrize("verb", ["approve", "reject"])
def test_without_a_name_or_a_reason(refused, make_run, verb):
    make_run("waiting")
    assert refused(verb, RUN, "--note", "fine") == f"--by NAME is missing: say who {verb}s"
    assert refused(verb, RUN, "--note", "fine", "--by", " ") == f"--by NAME is missing: say who {verb}s"
    if verb == "reject":
        assert refused(verb, RUN, "--by", "Ada") == "--note REASON is missing: say why"
    else:
        assert refused(verb, RUN, "--by", "Ada", "--override") == "--note REASON is missing: an override needs one"


@pytest.mark.parametrize("verb", ["approve", "reject"])
def test_an_unknown_run_and_one_that_did_not_finish(refused, make_run, workdir, verb):
    assert refused(verb, RUN, "--by", "Ada", "--note", "x").startswith(f"{workdir.root}: no run was made here")
    make_run("waiting")
    unknown = refused(verb, "20200101-000000", "--by", "Ada", "--note", "x")
    assert unknown.startswith(f"{workdir.root}: no run 20200101-000000; list the runs with `audio-gender runs")
    (workdir.reports / RUN / "run.json").unlink()
    assert refused(verb, RUN, "--by", "Ada", "--note", "x").startswith(f"run {RUN} did not finish, so there is nothing to decide")


@pytest.mark.parametrize("verb", ["approve", "reject"])
def test_a_run_that_was_pushed(refused, make_run, workdir, verb):
    make_run("pushed")
    expected = f"run {RUN} was pushed as version 1795000000; go back with `audio-gender rollback --workdir {workdir.root}`"
    assert refused(verb, RUN, "--by", "Ada", "--note", "x") == expected


def test_what_the_gate_refused_needs_an_override(refused, make_run):
    make_run("refused")
    assert refused("approve", RUN, "--by", "Ada", "--note", "x") == (
        f"run {RUN} was refused by the gate (accuracy on label=female is 0.5000, below 0.85); "
        "to push it anyway, give --override with --note REASON"
    )


@pytest.mark.parametrize("override", [[], ["--override"]])
def test_what_cannot_be_served_is_never_pushed(refused, make_run, override):
    make_run("refused", servable=False)
    line = refused("approve", RUN, "--by", "Ada", "--note", "x", *override)
    assert line == (
        f"run {RUN}: its model failed the serving check and is never pushed (signature wav is missing); make a new run"
    )


def test_a_model_that_is_gone(refused, make_run, workdir):
    make_run("waiting")
    model = workdir.tfx / "Trainer/model/7/Format-Serving"
    (model / "saved_model.pb").unlink()
    assert refused("approve", RUN, "--by", "Ada") == f"{model}: the model is gone; make a new run"


def test_a_model_that_was_changed_since_the_gate_saw_it(refused, make_run, workdir):
    make_run("waiting")
    model = workdir.tfx / "Trainer/model/7/Format-Serving"
    (model / "saved_model.pb").write_text("modeL")
    why = f"{model}: its files were changed after the training; make a new run"
    for override in ([], ["--override", "--note", "I know"]):
        assert refused("approve", RUN, "--by", "Ada", *override) == why
    assert versions(workdir.serving) == []
    assert list_decisions(workdir) == []


def test_another_model_came_into_serving_since(refused, make_run, model, workdir):
    make_run("waiting")
    version = serve(workdir, model)
    assert refused("approve", RUN, "--by", "Ada") == (
        f"run {RUN} was compared with no model, and version {version} is in serving now; "
        "make a new run, or give --override with --note REASON"
    )


def test_while_a_run_is_at_work(refused, make_run, workdir):
    make_run("waiting")
    with workdir.locked():
        assert "another run is using this folder" in refused("approve", RUN, "--by", "Ada")


def test_an_approval_that_was_cut_off_after_the_push_is_completed_without_a_second_one(command, make_run, model, workdir):
    make_run("waiting")
    begun = ReviewDecision(kind="approved", by="Ada", login="ada@host", when="2026-11-23T00:00:00+00:00", run_id=RUN)
    record_decision(workdir, begun, "RUNNING")
    version = serve(workdir, model, action="approved", run_id=RUN)
    assert [run.verdict for run in list_runs(workdir)] == ["waiting"]

    status, said = command("approve", RUN, "--by", "Ada", "--note", "fine")

    assert (status, versions(workdir.serving)) == (0, [int(version)])
    assert f"pushed: run {RUN} is in serving as version {version}, approved by Ada\n" in said
    (decision,) = list_decisions(workdir)
    assert (decision.version, decision.note) == (version, "fine")
    (run,) = list_runs(workdir)
    assert (run.verdict, run.pushed_version, run.decided_by) == ("pushed", version, "Ada")
    result = read_result(workdir, RUN)
    assert (result.verdict, result.serving_version, result.decision) == ("pushed", version, decision)


def test_a_decision_that_was_cut_off_before_the_run_s_file_was_written_is_written_there(command, make_run, workdir):
    make_run("waiting")
    made = ReviewDecision(kind="approved", by="Ada", login="a@b", when="2026-11-23T00:00:00+00:00", run_id=RUN, version="9")
    record_decision(workdir, made, "COMPLETE")

    status, said = command("approve", RUN, "--by", "Eve")

    assert (status, said.splitlines()[-1]) == (2, f"error: run {RUN} was approved by Ada on 2026-11-23 as version 9")
    result = read_result(workdir, RUN)
    assert (result.verdict, result.serving_version, result.decision) == ("pushed", "9", made)


# Reject.


def test_a_rejection_is_recorded_with_its_reason_and_final(command, refused, make_run, workdir):
    make_run("waiting")
    status, said = command("reject", RUN, "--by", "Ada", "--note", "deaf to low voices")

    assert (status, said.splitlines()[-1]) == (0, f"rejected: run {RUN}, by Ada; still in serving: no version")
    (decision,) = list_decisions(workdir)
    assert (decision.kind, decision.by, decision.note, decision.run_id) == ("rejected", "Ada", "deaf to low voices", RUN)
    assert "@" in decision.login
    assert decision.code_revision
    (run,) = list_runs(workdir)
    assert (run.verdict, run.decided_by, run.decision_note) == ("rejected", "Ada", "deaf to low voices")
    assert read_result(workdir, RUN).verdict == "rejected"
    again = f"run {RUN} was rejected by Ada on {decision.when[:10]}: deaf to low voices"
    assert refused("approve", RUN, "--by", "Eve") == again
    assert refused("approve", RUN, "--by", "Eve", "--override", "--note", "x") == again
    assert refused("reject", RUN, "--by", "Eve", "--note", "x") == again


def test_the_decision_is_linked_to_the_run_and_its_model(command, make_run, workdir):
    make_run("waiting")
    command("reject", RUN, "--by", "Ada", "--note", "x")

    store = MetadataStore(workdir.connection())
    (execution,) = store.get_executions_by_type("Decision")
    (event,) = store.get_events_by_execution_ids([execution.id])
    assert [artifact.uri for artifact in store.get_artifacts_by_id([event.artifact_id])] == ["tfx/Trainer/model/7"]
    assert [context.name for context in store.get_contexts_by_execution(execution.id)] == [RUN]


# Rollback.


def test_a_rollback_is_said_recorded_and_listed(command, make_run, model, workdir):
    make_run("pushed")
    first = serve(workdir, model, run_id=RUN)
    second = serve(workdir, model, run_id="other")

    with workdir.locked():  # a run at work does not hold it up
        status, said = command("rollback", "--by", "Ada", "--note", "false alarms")

    new = versions(workdir.serving)[-1]
    assert status == 0
    assert said.splitlines()[-1] == (
        f"rolled back to version {first}, by Ada; now in serving: version {new}, a copy of version {first}, of run {RUN}"
    )
    assert new > int(second)
    (decision,) = list_decisions(workdir)
    assert (decision.kind, decision.version, decision.rolled_back_to) == ("rolled back", str(new), first)
    assert (decision.by, decision.note, decision.run_id) == ("Ada", "false alarms", RUN)
    assert read_provenance(workdir.serving, new).rolled_back_to == int(first)
    run, back = list_runs(workdir)
    assert run.verdict == "pushed"
    assert (back.run_id, back.verdict, back.note, back.pushed_version) == (RUN, "rolled back", f"to {first}", str(new))


def test_a_rollback_that_was_cut_off_before_its_record_is_recorded_and_goes_no_further_back(command, make_run, model, workdir):
    make_run("pushed")
    _, first, _ = (serve(workdir, model, run_id=run) for run in ("zeroth", RUN, "other"))
    cut_off = roll_back(workdir.serving, None, "Ada", login(), "false alarms")

    status, said = command("rollback", "--by", "Ada", "--note", "false alarms")

    assert status == 0
    assert said.splitlines()[-1].startswith(f"rolled back to version {first}, by Ada; now in serving: version {cut_off.version}")
    assert versions(workdir.serving)[-1] == cut_off.version
    assert [decision.version for decision in list_decisions(workdir)] == [str(cut_off.version)]
    # Given once more it is a new decision.
    assert command("rollback", "--by", "Ada", "--note", "false alarms")[0] == 0
    assert read_provenance(workdir.serving, versions(workdir.serving)[-1]).rolled_back_to < int(first)


def test_the_user_of_the_session_rolls_back_where_no_name_is_given(command, model, workdir):
    first, _ = serve(workdir, model), serve(workdir, model)
    status, _ = command("rollback", first)
    assert status == 0
    assert re.fullmatch(r"\S+@\S+", list_decisions(workdir)[0].by)


def test_what_cannot_be_rolled_back_to(refused, model, workdir):
    assert refused("rollback").startswith(f"{workdir.serving}: no version is in serving")
    version = serve(workdir, model)
    assert refused("rollback", "7") == f"{workdir.serving}: no version 7; there are {version}"
    assert refused("rollback") == f"{workdir.serving}: no version before the model now in serving; there are {version}"


def test_the_openlineage_server_of_the_last_push_is_told_of_each_rollback(command, model, workdir):
    pytest.importorskip("openlineage", reason="the optional package openlineage-python is not installed")
    with openlineage_server() as (events, url):
        zeroth = serve(workdir, model, run_id="r0", dataset_fingerprint="d0")  # pushed before there was such a server
        serve(workdir, model, run_id="r1", dataset_fingerprint="d1")
        serve(workdir, model, run_id="r2", dataset_fingerprint="d2", config={"push": {"openlineage_url": url}})
        assert command("rollback", "--by", "Ada", "--note", "false alarms")[0] == 0
        back = versions(workdir.serving)[-1]
        assert command("rollback", zeroth, "--by", "Ada")[0] == 0  # from a version that itself was a rollback

    (path, event), (_, second) = events
    assert (path, event["eventType"], event["job"]["name"]) == ("/api/v1/lineage", "COMPLETE", "push.rolled_back")
    assert event["inputs"][0]["facets"]["version"]["datasetVersion"] == "d1"
    (output,) = event["outputs"]
    assert (output["name"], output["facets"]["version"]["datasetVersion"]) == (str(workdir.serving), str(back))
    facet = event["run"]["facets"]["audio_gender"]
    assert (facet["by"], facet["note"], facet["run_id"], facet["action"]) == ("Ada", "false alarms", "r1", "rolled back")
    assert second["inputs"][0]["facets"]["version"]["datasetVersion"] == "d0"


def test_a_rollback_is_done_where_its_openlineage_event_cannot_be_sent(command, model, workdir, monkeypatch):
    serve(workdir, model)
    serve(workdir, model, config={"push": {"openlineage_url": "http://127.0.0.1:9"}})

    if find_spec("openlineage"):
        status, said = command("rollback", "--by", "Ada")
        assert (status, "the OpenLineage server at http://127.0.0.1:9 did not accept the event: " in said) == (0, True)
    monkeypatch.setattr(lineage_events, "find_spec", lambda name: None)
    status, said = command("rollback", str(versions(workdir.serving)[1]), "--by", "Ada")
    assert status == 0
    assert (
        "no OpenLineage event was sent: push.openlineage_url is set and the package openlineage-python is not installed" in said
    )
    assert [decision.kind for decision in list_decisions(workdir)][-1] == "rolled back"


# The list.


def test_the_list_says_who_decided_and_what_is_in_serving(command, make_run, model, workdir):
    make_run("waiting")
    make_run("refused", run_id="20261123-000001")
    make_run("waiting", run_id="20261123-000002")
    forced = ReviewDecision(
        kind="approved",
        by="Ada [QA]",
        login="a@b",
        when="2026-11-23T00:00:00+00:00",
        run_id="20261123-000001",
        override=True,
        version="9",
    )
    record_decision(workdir, forced, "COMPLETE")

    _, said = command("runs")

    assert [(run.verdict, run.decided_by, run.override) for run in list_runs(workdir)] == [
        ("waiting", None, False),
        ("pushed", "Ada [QA]", True),
        ("waiting", None, False),
    ]
    assert re.search(r"20261123-000001 +pushed .* version 9, by Ada \[QA\] \(override\)", said)
    assert said.splitlines()[-1] == "in serving: no version"


def test_a_version_that_was_removed_by_hand_counts_as_lost(make_run, workdir):
    make_run("pushed")  # as version 1795000000
    results = read_results(workdir)
    assert _serving_changes(workdir, results, "") == "1795000000"
    assert _serving_changes(workdir, results, "other inputs") == ""
    (workdir.serving / "1795000000").mkdir(parents=True)
    assert _serving_changes(workdir, results, "") == ""


def test_a_rejected_model_is_remembered_where_the_next_run_looks(command, make_run, model, workdir):
    make_run("waiting")
    assert _serving_changes(workdir, [], "") == ""
    command("reject", RUN, "--by", "Ada", "--note", "deaf to low voices")
    (withdrawn,) = read_withdrawn(workdir.serving).values()
    assert (withdrawn.model_digest, withdrawn.run_id) == (model_digest(model), RUN)
    assert str(withdrawn) == f"rejected by Ada on {withdrawn.when[:10]}: deaf to low voices"
    assert _serving_changes(workdir, [], "") == model_digest(model)
