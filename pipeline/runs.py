# SPDX-License-Identifier: Apache-2.0
"""Which runs there were, what each came to, and in what it differs from the one before."""

import dataclasses
import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from beam_jobs.errors import UserError
from components.pusher.serving_folder import versions_by_run
from components.pusher.trials import SERVER, fate
from pipeline.lineage import Recorded, list_decisions, recorded_runs
from pipeline.outcome import Outcome, read_outcomes
from pipeline.result import ReviewDecision, RunResult, read_results, read_run_config
from pipeline.workdir import WorkDir

DATA = "data"


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run, or one rollback.

    `verdict`: pushed, refused, waiting (for approval), on trial (a candidate that a server tries), superseded (as a candidate, by
    another model), rejected, stopped (it failed or was interrupted), at work, or rolled back; `note` says why it was refused or
    superseded, or where and why it stopped. `decided_by` is `gate`, or the person; None where nobody
    has decided. `changed` names the settings, and `data`, in which it differs from the run before it in the list.
    """

    run_id: str
    started_ms: int
    verdict: str
    note: str
    pushed_version: str | None
    decided_by: str | None = None
    decision_note: str = ""
    override: bool = False
    name: str = ""
    tags: list[str] = dataclasses.field(default_factory=list)
    accuracy: float | None = None
    changed: list[str] = dataclasses.field(default_factory=list)


def list_runs(workdir: WorkDir, name: str = "", tags: Iterable[str] = ()) -> list[RunSummary]:
    """All runs and rollbacks, oldest first; with a name or tags, the runs that have them.

    Raises:
        UserError: no run was made here, none is called so, or the metadata store cannot be used.
    """
    recorded, outcomes, decisions = recorded_runs(workdir), read_outcomes(workdir), list_decisions(workdir)
    results = {result.run_id: result for result in read_results(workdir)}
    run_ids = recorded.keys() | outcomes.keys() | results.keys()
    if not run_ids and not decisions:
        raise UserError(f"{workdir.root}: no run was made here; make one with `{workdir.command('run', '--config', 'demo')}`")
    by_run = {decision.run_id: decision for decision in decisions if decision.kind != "rolled back"}
    in_serving = versions_by_run(workdir.serving)
    newest = max(outcomes, default="") if workdir.at_work() else ""
    found = []
    for run_id in sorted(run_ids):
        outcome = outcomes.get(run_id)
        result = results.get(run_id)
        summary = _summary(run_id, recorded.get(run_id), outcome, result, in_serving.get(run_id), run_id == newest)
        summary = _tried(workdir, recorded.get(run_id), dataclasses.replace(summary, accuracy=_accuracy(result)))
        found.append(_decided(summary, by_run.get(run_id)))
    if name or tags:
        found = [run for run in found if name in ("", run.name) and set(tags) <= set(run.tags)]
        if not found:
            asked = " and ".join(filter(None, [f"--name {name}" if name else "", *(f"--tag {tag}" for tag in tags)]))
            raise UserError(f"{workdir.root}: no run was made with {asked}; list all with `{workdir.command('runs')}`")
    else:
        found += [_rollback(decision) for decision in decisions if decision.kind == "rolled back"]
    return _with_changes(workdir, sorted(found, key=lambda run: run.started_ms), outcomes)


def _summary(
    run_id: str, recorded: Recorded | None, outcome: Outcome | None, result: RunResult | None, served: str | None, at_work: bool
) -> RunSummary:
    pushed = recorded.pushed if recorded else None
    started_ms = _milliseconds(outcome.started) if outcome else recorded.started_ms if recorded else 0
    version = (pushed["pushed_version"].string_value if pushed and "pushed_version" in pushed else "") or served
    decided_by, note = None, ""
    # An approval or a prune holds the folder's lock too.
    if at_work and outcome and outcome.state == "at work":
        verdict, note, version = "at work", outcome.at, None
    elif pushed is not None and "waiting" in pushed and pushed["waiting"].int_value:
        verdict = "waiting"
    elif pushed is not None or served:
        verdict, decided_by = "pushed" if version else "refused", "gate"
        note = _why_refused(result) if verdict == "refused" else ""
    elif result is not None:  # its metadata store is gone
        verdict, version = result.verdict, result.serving_version if result.verdict == "pushed" else None
        decided_by = result.decision.by if result.decision else None if verdict in ("waiting", "on trial") else "gate"
    else:
        verdict, note = "stopped", _why_stopped(recorded, outcome)
    return RunSummary(
        run_id,
        started_ms,
        verdict,
        note,
        version,
        decided_by,
        name=outcome.name if outcome else "",
        tags=outcome.tags if outcome else [],
    )


def _tried(workdir: WorkDir, recorded: Recorded | None, run: RunSummary) -> RunSummary:
    """With what became of its model as a candidate, where it was one."""
    pushed = recorded.pushed if recorded else None
    if pushed is None or "trial_version" not in pushed or run.verdict == "at work":
        return run
    decision = fate(workdir.serving, int(pushed["trial_version"].string_value))
    if decision is None:
        return dataclasses.replace(run, verdict="on trial", pushed_version=None, decided_by=None, note="")
    if decision.outcome == "superseded":
        return dataclasses.replace(run, verdict="superseded", pushed_version=None, decided_by=None, note=decision.why)
    promoted = decision.outcome == "promoted"
    return dataclasses.replace(
        run,
        verdict="pushed" if promoted else "rejected",
        pushed_version=str(decision.version) if promoted else None,
        decided_by=SERVER,
        decision_note=decision.why,
        note="",
    )


def _why_refused(result: RunResult | None) -> str:
    first, *more = result.reason.split("; ") if result else [""]
    return f"{first} (and {len(more)} more)" if more else first


def _why_stopped(recorded: Recorded | None, outcome: Outcome | None) -> str:
    if outcome and outcome.state in ("failed", "interrupted"):
        return f"{outcome.at}: {outcome.reason}"
    if recorded and recorded.failed_node:
        return f"{recorded.failed_node} failed"
    return f"{outcome.at}: killed" if outcome and outcome.at else "interrupted"


def _accuracy(result: RunResult | None) -> float | None:
    return result.metrics.get("all", {}).get("accuracy") if result else None


def _decided(run: RunSummary, decision: ReviewDecision | None) -> RunSummary:
    if decision is None:
        return run
    return dataclasses.replace(
        run,
        verdict="pushed" if decision.kind == "approved" else decision.kind,
        pushed_version=decision.version,
        decided_by=decision.by,
        decision_note=decision.note,
        override=decision.override,
    )


def _rollback(decision: ReviewDecision) -> RunSummary:
    note = f"to {decision.rolled_back_to}"
    return RunSummary(
        decision.run_id, _milliseconds(decision.when), decision.kind, note, decision.version, decision.by, decision.note
    )


def _milliseconds(when: str) -> int:
    return round(datetime.datetime.fromisoformat(when).timestamp() * 1000)


def _with_changes(workdir: WorkDir, runs: list[RunSummary], outcomes: Mapping[str, Outcome]) -> list[RunSummary]:
    found: list[RunSummary] = []
    before: RunSummary | None = None
    for run in runs:
        if run.verdict == "rolled back":
            found.append(run)
            continue
        if before is not None:
            changed = [
                f"{key} {_text(old)} → {_text(new)}" for key, old, new in differing_settings(workdir, before.run_id, run.run_id)
            ]
            if other_data(outcomes.get(before.run_id), outcomes.get(run.run_id)):
                changed.append(DATA)
            run = dataclasses.replace(run, changed=changed)
        found.append(run)
        before = run
    return found


def differing_settings(workdir: WorkDir, first: str, second: str) -> list[tuple[str, Any, Any]]:
    """The settings in which two runs differ: key, value of the first, value of the second; None where one has no such key."""
    ours, theirs = (_flat(read_run_config(workdir, run_id)) for run_id in (first, second))
    if not ours or not theirs:  # a configuration is gone: then nothing is known
        return []
    return [(key, ours.get(key), theirs.get(key)) for key in sorted(ours | theirs) if ours.get(key) != theirs.get(key)]


def other_data(first: Outcome | None, second: Outcome | None) -> bool:
    """Whether two runs had other recordings; False where that is not known."""
    return bool(first and second and first.corpus_digest and second.corpus_digest and first.corpus_digest != second.corpus_digest)


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _text(value: Any) -> str:
    return "null" if value is None else str(value)
