# SPDX-License-Identifier: Apache-2.0
"""Retraining on Kubeflow Pipelines: its runs are those of an experiment of their own."""

import datetime
from pathlib import Path
from typing import Any

from beam_jobs.console import say
from components.alarm import Alarm
from pipeline.kubeflow.client import Kubeflow, user_errors
from pipeline.kubeflow.run_nodes import FINAL, SUCCEEDED
from pipeline.kubeflow.submit import find_experiment, submit
from pipeline.retraining import Before, by_a_wrong_clock

EXPERIMENT = "audio-gender-retraining"
NUM_RUNS = 20
"""Newest ones, of which the last retraining is the first that no wrong clock dates."""

UNKNOWN = (None, "RUNTIME_STATE_UNSPECIFIED")
UNKNOWN_FOR = datetime.timedelta(hours=1)


def last_on_kubeflow(kubeflow: Kubeflow) -> Before | None:
    """The last retraining, by the list of runs; None where there was none.

    Raises:
        UserError: Kubeflow refuses or does not answer.
    """
    with user_errors(f"experiment {EXPERIMENT}"):
        experiment_id = find_experiment(kubeflow, EXPERIMENT)
        if experiment_id is None:
            return None
        runs = kubeflow.client.runs.run_service_list_runs(
            namespace=kubeflow.user_namespace, experiment_id=experiment_id, sort_by="created_at desc", page_size=NUM_RUNS
        ).runs
    for run in runs or []:  # an older one may have been started again
        if _is_at_work(run):
            return Before(f"run {run.run_id}", True, None)
    for run in runs or []:
        if not by_a_wrong_clock(f"run {run.run_id}", max(run.created_at, run.finished_at or run.created_at)):
            return Before(f"run {run.run_id}", False, run.finished_at if run.state == SUCCEEDED else None)
    return None


def _is_at_work(run: Any) -> bool:
    """Kubeflow knows no state of a run until Argo has seen it; later, it has lost it, and such a run must not stop all others."""
    if run.state not in UNKNOWN:
        return run.state not in FINAL
    if datetime.datetime.now(datetime.UTC) - run.created_at < UNKNOWN_FOR:
        return True
    say(f"warning: run {run.run_id} has had no state for more than an hour: it does not count as running")
    return False


def run_on_kubeflow(alarm: Alarm, kubeflow: Kubeflow, package: Path, service_account: str | None, last: Before | None) -> str:
    """Starts a run of a package, which knows why by its parameter `alarm`; does not wait for its end. Says which.

    Raises:
        UserError: as `pipeline.kubeflow.submit.submit`.
    """
    if last and not last.at_work and last.ended is None:
        say(f"the previous retraining, {last.name}, did not succeed; see {kubeflow.host}/#/runs")
    run_id = submit(
        package,
        kubeflow,
        name=f"retraining {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M}: {', '.join(alarm.values)}",
        experiment=EXPERIMENT,
        service_account=service_account,
        parameters={"alarm": alarm.model_dump_json()},
    )
    return f"retraining: run {run_id} was started, {kubeflow.host}/#/runs/details/{run_id}"
