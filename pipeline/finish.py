# SPDX-License-Identifier: Apache-2.0
"""What a finished run came to, put together from its artifacts and kept in its reports folder."""

from beam_jobs.console import say
from beam_jobs.errors import UserError
from beam_jobs.files import write_atomically
from components.gate.result import GateResult, read_gate_result
from components.review_report.formatting import grounds
from components.tuner.search_space import read_best
from pipeline.config import PipelineConfig, load_config
from pipeline.lineage import artifact_of_run, recorded_runs
from pipeline.outcome import Outcome, read_outcomes
from pipeline.result import (
    CONFIG_FILE,
    REPORT_FILE,
    RESULT_FILE,
    RunResult,
    folders,
    metrics_by_slice,
    read_results,
    write_result,
)
from pipeline.workdir import WorkDir


def result_of(workdir: WorkDir, config: PipelineConfig, outcome: Outcome) -> RunResult:
    """What a run came to whose last node is through."""
    run_id = outcome.run_id
    gate = gate_of(workdir, run_id)
    pushed = artifact_of_run(workdir, run_id, "PushedModel").custom_properties
    version = pushed["pushed_version"].string_value or None
    waiting, waiting_for = bool(pushed["waiting"].int_value), pushed["waiting_for"].string_value
    trial = pushed["trial_version"].string_value or None
    if gate.blessed != bool(version or waiting or trial):
        raise RuntimeError(f"the gate ({'blessed' if gate.blessed else gate.reasons}) and the push ({version}) disagree")
    tuned = None
    if config.tune is not None:
        tuned = read_best(str(workdir.path(artifact_of_run(workdir, run_id, "HyperParameters").uri)))
    named = f"version {version}: " if version else f"to be version {trial}: " if trial else ""
    reason = "; ".join(gate.reasons) or named + grounds(gate)
    if waiting:
        reason = f"waits for approval ({waiting_for}); {reason}"
    return RunResult(
        run_id=run_id,
        verdict="pushed" if version else "waiting" if waiting else "on trial" if trial else "refused",
        reason=reason,
        waiting_for=waiting_for,
        metrics=metrics_by_slice(gate),
        same_in_all=gate.same_in_all,
        classes=gate.classes,
        tuned=tuned,
        serving_version=version or workdir.serving_version(),
        trial_version=trial,
        baseline_version=gate.baseline_version,
        inputs_digest=outcome.inputs_digest,
        folders=folders(workdir, run_id, workdir.place(outcome.corpus), str(workdir.path(outcome.dataset))),
        nodes=outcome.nodes,
        seconds=outcome.seconds,
        dataset_fingerprint=outcome.dataset_fingerprint,
        code_revision=outcome.code_revision,
    )


def gate_of(workdir: WorkDir, run_id: str) -> GateResult:
    """What the gate found in a run."""
    return read_gate_result(str(workdir.path(artifact_of_run(workdir, run_id, "ModelBlessing").uri)))


def keep_result(workdir: WorkDir, result: RunResult) -> None:
    """Writes a run's report and its result into its reports folder.

    The model may be in serving already, so a full disk is said here and is no failure of the run.
    """
    # They load what draws the charts, which `runs` and `approve` can do without.
    from components.review_report.page import render_report
    from pipeline.review_inputs import inputs_of

    report = workdir.reports / result.run_id / REPORT_FILE
    try:
        write_result(workdir, result)
        # Not the node's page: that was made before the push, and may be an earlier run's, out of the cache.
        page = render_report(inputs_of(workdir, {item.run_id: item for item in read_results(workdir)}, result))
        write_atomically(str(report), page.encode())
    except (OSError, UserError) as error:
        report.unlink(missing_ok=True)
        why = error.strerror if isinstance(error, OSError) else error
        say(
            f"warning: the run finished, but its report could not be written to {report.parent} "
            f"({why}); free some space, then write it with `{workdir.command('review', result.run_id)}`"
        )


def complete_results(workdir: WorkDir) -> None:
    """Writes the results that runs came to and could not write: the disk was full, or the process was killed just then."""
    without = {
        run_id: outcome
        for run_id, outcome in read_outcomes(workdir).items()
        if not (workdir.reports / run_id / RESULT_FILE).exists()
    }
    recorded = recorded_runs(workdir) if without else {}
    for run_id, outcome in without.items():
        report = workdir.reports / run_id
        if run_id not in recorded or recorded[run_id].pushed is None:
            continue
        try:
            result = result_of(workdir, load_config(report / CONFIG_FILE), outcome)
        except (OSError, UserError):  # its artifacts or its configuration are gone
            continue
        keep_result(workdir, result)
