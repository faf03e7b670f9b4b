# SPDX-License-Identifier: Apache-2.0
"""What people decide about models: approve and reject a run, roll serving back. Everything is recorded in MLMD.

A decision is recorded before anything changes and completed afterwards, so that one that was cut off in between can be told
from one that was never made, and is taken up where it stopped when it is given again.
"""

import datetime
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from beam_jobs.console import noise_to, progress
from beam_jobs.errors import UserError
from components.model_digest import MODEL_DIGEST
from components.pusher.lineage_events import send_rollback
from components.pusher.provenance import Approval, Provenance, code_revision, login
from components.pusher.serving_folder import now, read_provenance, roll_back, versions, withdraw
from pipeline.outcome import read_outcomes
from pipeline.result import APPROVAL_RUN, CONFIG_FILE, RESULT_FILE, Kind, ReviewDecision, RunResult, read_result, write_result
from pipeline.workdir import WorkDir

MAX_REASONS = 3
"""Of a refusal, in the line that says why a run cannot be approved; the report has all."""


def approve(workdir: WorkDir, run_id: str, by: str, note: str = "", override: bool = False) -> RunResult:
    """Pushes the model of a run by a TFX partial run of its Pusher.

    Raises:
        UserError: who approves is not said; there is no such run; it is decided on already; its model is not blessed, or was
            compared with another model than the one now in serving, and no override with a reason is given; its model cannot
            be served, or is gone.
    """
    _require(by, "--by NAME is missing: say who approves")
    if override:
        _require(note, "--note REASON is missing: an override needs one")
    with workdir.locked(), _loaded():
        result = _undecided(workdir, run_id)
        _require_approvable(workdir, result, override)
        decision = _decision("approved", by, note, run_id, override)
        with _recorded(workdir, decision):
            decision.version = _pushed_before(workdir, run_id) or _push(workdir, result, decision)
        return _decided(workdir, result, decision)


def reject(workdir: WorkDir, run_id: str, by: str, note: str) -> RunResult:
    """Records that the model of a run does not go into serving, and why.

    Raises:
        UserError: who rejects or why is not said; there is no such run; it is decided on already.
    """
    _require(by, "--by NAME is missing: say who rejects")
    _require(note, "--note REASON is missing: say why")
    with workdir.locked(), _loaded():
        result = _undecided(workdir, run_id)
        decision = _decision("rejected", by, note, run_id)
        with _recorded(workdir, decision):
            from pipeline.lineage import candidate_of_run

            digest = candidate_of_run(workdir, run_id).custom_properties[MODEL_DIGEST].string_value
            withdraw(workdir.serving, {digest: run_id}, "rejected", decision.by, decision.login, decision.note)
        return _decided(workdir, result, decision)


def rollback(
    workdir: WorkDir, version: int | None = None, by: str | None = None, note: str = "", public_key: Path | None = None
) -> ReviewDecision:
    """Puts an earlier version back into serving as a new one.

    It does not wait for a run that is at work, and serving comes first, the record after: serving may be on fire. Where it was
    cut off in between, the same command again makes the record, and does not go further back.

    Args:
        workdir: the work folder.
        version: None for the model before the one in serving.
        by: who; None for the user of this process.
        note: why.
        public_key: with which the version must have been signed; None where any will do.

    Raises:
        UserError: no such version, or none before; its files are not those that were pushed, or signed with that key.
    """
    who = login() if by is None else by
    _require(who, "--by NAME is empty: say who rolls back")
    if not workdir.serving.is_dir():
        raise UserError(
            f"{workdir.serving}: no version is in serving; push a model first with `{workdir.command('run', '--config', 'demo')}`"
        )
    stored = _rolled_back_before(workdir, who, note) if version is None else None
    stored = stored or roll_back(workdir.serving, version, who, login(), note, public_key)
    decision = _decision("rolled back", who, note, stored.run_id)
    decision.version, decision.rolled_back_to = str(stored.version), str(stored.rolled_back_to)
    try:
        with _loaded(), _recorded(workdir, decision):
            pass
    except UserError as error:
        raise UserError(
            f"rolled back to version {stored.rolled_back_to}, in serving as version {stored.version}; "
            f"but this could not be recorded: {error}"
        ) from None
    finally:
        send_rollback(workdir.serving, stored)
    return decision


def _require(text: str, problem: str) -> None:
    if not text.strip():
        raise UserError(problem)


@contextmanager
def _loaded() -> Iterator[None]:
    with progress("opening the metadata store", 1):
        import pipeline.lineage  # noqa: F401 (seconds, so not before what can be checked without it)
    yield


def _decision(kind: Kind, by: str, note: str, run_id: str, override: bool = False) -> ReviewDecision:
    return ReviewDecision(
        kind=kind,
        by=by.strip(),
        note=note.strip(),
        run_id=run_id,
        override=override,
        when=now(),
        login=login(),
        code_revision=code_revision(),
    )


@contextmanager
def _recorded(workdir: WorkDir, decision: ReviewDecision) -> Iterator[None]:
    """Records a decision as begun, then as complete, or as failed where the body fails."""
    from pipeline.lineage import record_decision

    execution = record_decision(workdir, decision, "RUNNING")
    try:
        yield
    except BaseException:
        record_decision(workdir, decision, "FAILED", execution)
        raise
    record_decision(workdir, decision, "COMPLETE", execution)


def _decided(workdir: WorkDir, result: RunResult, decision: ReviewDecision) -> RunResult:
    approved = {"verdict": "pushed", "serving_version": decision.version}
    update = {**(approved if decision.kind == "approved" else {"verdict": "rejected"}), "decision": decision}
    done = result.model_copy(update=update)
    write_result(workdir, done)
    return done


def _undecided(workdir: WorkDir, run_id: str) -> RunResult:
    from pipeline.lineage import list_decisions, require_run

    require_run(workdir, run_id)
    if not (workdir.reports / run_id / RESULT_FILE).exists():
        from pipeline.finish import complete_results

        complete_results(workdir)
    if not (workdir.reports / run_id / RESULT_FILE).exists():
        raise UserError(f"run {run_id} did not finish, so there is nothing to decide; make a new run")
    result = read_result(workdir, run_id)
    for decision in list_decisions(workdir):
        if decision.run_id == run_id and decision.kind != "rolled back":
            if result.decision is None:  # cut off before `run.json` was written
                _decided(workdir, result, decision)
            version = f" as version {decision.version}" if decision.version else ""
            why = f": {decision.note}" if decision.note else ""
            raise UserError(f"run {run_id} was {decision.kind} by {decision.by} on {decision.when[:10]}{version}{why}")
    if result.verdict == "pushed":
        raise UserError(
            f"run {run_id} was pushed as version {result.serving_version}; go back with `{workdir.command('rollback')}`"
        )
    return result


def _require_approvable(workdir: WorkDir, result: RunResult, override: bool) -> None:
    from pipeline.lineage import artifact_of_run, candidate_of_run

    with noise_to(Path(os.devnull)):  # TensorFlow's notes on the processor
        from components.trained_model import unchanged_model

    run_id = result.run_id
    check = artifact_of_run(workdir, run_id, "InfraBlessing").custom_properties
    if not check["blessed"].int_value:
        reasons = "; ".join(json.loads(check["reasons"].string_value))
        raise UserError(f"run {run_id}: its model failed the serving check and is never pushed ({reasons}); make a new run")
    candidate = candidate_of_run(workdir, run_id)
    unchanged_model(str(workdir.path(candidate.uri)), candidate.custom_properties[MODEL_DIGEST].string_value)
    if not override and not artifact_of_run(workdir, run_id, "ModelBlessing").custom_properties["blessed"].int_value:
        refusals = result.reason.split("; ")
        shown = "; ".join(refusals[:MAX_REASONS])
        if len(refusals) > MAX_REASONS:
            shown += f"; and {len(refusals) - MAX_REASONS} more"
        raise UserError(f"run {run_id} was refused by the gate ({shown}); to push it anyway, give --override with --note REASON")
    serving = workdir.serving_version()
    if not override and serving != result.baseline_version and _pushed_before(workdir, run_id) is None:
        then, today = (f"version {version}" if version else "no model" for version in (result.baseline_version, serving))
        raise UserError(
            f"run {run_id} was compared with {then}, and {today} is in serving now; "
            "make a new run, or give --override with --note REASON"
        )


def _pushed_before(workdir: WorkDir, run_id: str) -> str | None:
    """The version under which the approved model of a run is in serving already, of an approval that was cut off."""
    for version in reversed(versions(workdir.serving)):
        provenance = read_provenance(workdir.serving, version)
        if provenance and (provenance.run_id, provenance.action) == (run_id, "approved"):
            return str(version)
    return None


def _rolled_back_before(workdir: WorkDir, by: str, note: str) -> Provenance | None:
    """What is in serving, where the same command put it there and was cut off before it could record that."""
    there = versions(workdir.serving)
    newest = read_provenance(workdir.serving, there[-1]) if there else None
    if newest is None or (newest.action, newest.by, newest.login, newest.note) != ("rolled back", by, login(), note):
        return None
    with _loaded(), suppress(UserError):  # a store that cannot be read is no reason to wait
        from pipeline.lineage import list_decisions

        if not any(decision.version == str(newest.version) for decision in list_decisions(workdir)):
            return newest
    return None


def _alarm(workdir: WorkDir, run_id: str) -> str:
    """Why `watch` started a run, as JSON; empty where a person did."""
    outcome = read_outcomes(workdir).get(run_id)
    return outcome.alarm.model_dump_json() if outcome and outcome.alarm else ""


def _push(workdir: WorkDir, result: RunResult, decision: ReviewDecision) -> str:
    child = f"{result.run_id}{APPROVAL_RUN}{datetime.datetime.now():%Y%m%d-%H%M%S}"
    with progress("pushing (TFX partial run)", 1), noise_to(workdir.logs / f"{child}.log"):
        from pipeline.config import load_config
        from pipeline.dag import RunContext, create_pipeline
        from pipeline.lineage import artifact_of_run
        from pipeline.local_runner import run_pipeline

        context = RunContext(
            dataset_uri=workdir.relative(result.folders["dataset"]),
            dataset_fingerprint=result.dataset_fingerprint,
            pipeline_root=workdir.relative(workdir.tfx),
            serving_uri=workdir.relative(workdir.serving),
            baseline_version=result.baseline_version or "",
            alarm=_alarm(workdir, result.run_id),
        )
        approval = Approval(
            run_id=result.run_id,
            by=decision.by,
            login=decision.login,
            note=decision.note,
            override=decision.override,
            code_revision=result.code_revision,
        )
        config = load_config(workdir.reports / result.run_id / CONFIG_FILE)
        pipeline = create_pipeline(config, context, workdir.connection(), approval)
        with workdir.entered():
            run_pipeline(pipeline, child, lambda *_: None, lambda *_: None, only="Pusher", base_run_id=result.run_id)
        pushed = artifact_of_run(workdir, child, "PushedModel")
    return str(pushed.custom_properties["pushed_version"].string_value)
