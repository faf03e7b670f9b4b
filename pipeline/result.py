# SPDX-License-Identifier: Apache-2.0
"""A run's result, as data."""

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from beam_jobs import yaml_text
from beam_jobs.console import say
from beam_jobs.errors import UserError
from beam_jobs.files import write_atomically
from components.gate.result import GateResult, Slice
from components.pusher.trials import SERVER, fate
from pipeline.outcome import NodeTime
from pipeline.workdir import WorkDir

RESULT_FILE = "run.json"
CONFIG_FILE = "config.yaml"
REPORT_FILE = "report.html"
APPROVAL_RUN = "-approved-"
"""In the name of the partial run that pushes an approved model: `<run>-approved-<time>`."""


Kind = Literal["approved", "rejected", "rolled back"]


class ReviewDecision(BaseModel):
    """What a person decided about a model: MLMD has it as an execution of type `Decision`, with these as its properties.

    `run_id` is the run that trained the model. `version` is the version that the decision put into serving, if it did.
    """

    kind: Kind
    by: str
    login: str
    when: str
    note: str = ""
    run_id: str = ""
    override: bool = False
    version: str | None = None
    rolled_back_to: str | None = None
    code_revision: str = ""


class RunResult(BaseModel):
    """What a run came to.

    `waiting` is a blessed model that a person has to approve or reject; `waiting_for` says why it waited at the run's end.
    `on trial` is a blessed model that a server tries, to be `trial_version`; where the server has decided, `read_result` says so.
    `metrics` are the candidate's by slice, as `metrics_by_slice` gives them; `tuned` are the settings that the Tuner chose, None
    where none ran.
    """

    run_id: str
    verdict: Literal["pushed", "refused", "waiting", "on trial", "superseded", "rejected"]
    reason: str
    waiting_for: str = ""
    metrics: dict[str, dict[str, Any]]
    classes: list[str]
    tuned: dict[str, Any] | None = None
    serving_version: str | None
    trial_version: str | None = None
    baseline_version: str | None
    inputs_digest: str
    folders: dict[str, str]
    nodes: list[NodeTime]
    seconds: float
    dataset_fingerprint: str = ""
    code_revision: str = ""
    decision: ReviewDecision | None = None
    same_in_all: dict[str, str] = {}
    """Features by which there are no slices, with the value that all test clips have."""


def metrics_by_slice(gate: GateResult) -> dict[str, dict[str, Any]]:
    """The candidate's figures by slice: `clips`, `accuracy`, `ece`, `auc` and `recall` by class, `confusion_matrix`."""
    return {item.name: _metrics(item) for item in gate.slices}


def _metrics(item: Slice) -> dict[str, Any]:
    found: dict[str, Any] = {"clips": item.clips, "confusion_matrix": item.confusion_matrix}
    for compared in item.metrics:
        if compared.class_name is None:
            found[compared.metric] = compared.candidate.value
        else:
            found.setdefault(compared.metric, {})[compared.class_name] = compared.candidate.value
    return found


def folders(workdir: WorkDir, run_id: str, corpus: str, dataset: str) -> dict[str, str]:
    """All folders that a run reads and writes."""
    return {
        "workdir": str(workdir.root),
        "corpus": corpus,
        "dataset": dataset,
        "pipeline_root": str(workdir.tfx),
        "metadata": str(workdir.metadata),
        "serving": str(workdir.serving),
        "report": str(workdir.reports / run_id),
        "log": str(workdir.logs / f"{run_id}.log"),
    }


def write_result(workdir: WorkDir, result: RunResult) -> None:
    """Stores the result with the run, its folders relative to the work folder; the file appears whole or not at all."""
    stored = {name: workdir.relative(path) for name, path in result.folders.items()}
    text = result.model_copy(update={"folders": stored}).model_dump_json(indent=1)
    write_atomically(str(workdir.reports / result.run_id / RESULT_FILE), text.encode())


def read_results(workdir: WorkDir) -> list[RunResult]:
    """Results of all finished runs, oldest first; a file that is damaged is named on the terminal and left out."""
    found = []
    for path in sorted(workdir.reports.glob(f"*/{RESULT_FILE}")):
        try:
            found.append(read_result(workdir, path.parent.name))
        except UserError as error:
            say(f"left out: {error}")
    return found


def read_result(workdir: WorkDir, run_id: str) -> RunResult:
    """Result of a finished run.

    Raises:
        UserError: its file is damaged.
    """
    path = workdir.reports / run_id / RESULT_FILE
    try:
        result = RunResult.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a run's result"
        raise UserError(
            f"{path}: damaged ({why}); restore it from a copy, or remove it (the run is then listed without it)"
        ) from None
    result = result.model_copy(update={"folders": {name: workdir.place(path) for name, path in result.folders.items()}})
    return _after_trial(workdir, result) if result.verdict == "on trial" else result


def _after_trial(workdir: WorkDir, result: RunResult) -> RunResult:
    """With what a server, which knows the serving folder alone, made of the candidate since."""
    decision = fate(workdir.serving, int(result.trial_version or 0))
    if decision is None:
        return result
    if decision.outcome == "promoted":
        return result.model_copy(update={"verdict": "pushed", "serving_version": str(decision.version)})
    if decision.outcome == "superseded":
        return result.model_copy(update={"verdict": "superseded", "reason": f"{decision.why}; {result.reason}"})
    said = ReviewDecision(
        kind="rejected", by=SERVER, login=decision.login, when=decision.when, note=decision.why, run_id=result.run_id
    )
    return result.model_copy(update={"verdict": "rejected", "decision": said})


def find_result(workdir: WorkDir, run_id: str) -> RunResult | None:
    """Result of a run; None where it has none, or a damaged one."""
    try:
        return read_result(workdir, run_id)
    except UserError:
        return None


def run_of_version(results: Iterable[RunResult], version: str | None) -> RunResult | None:
    """The run that pushed a version, the newest one where several did; None where none of them did."""
    made = [result for result in results if version and result.verdict == "pushed" and result.serving_version == version]
    return made[-1] if made else None


def read_run_config(workdir: WorkDir, run_id: str) -> dict[str, Any]:
    """A run's resolved configuration, as it was then; empty where its file is gone or damaged."""
    try:
        return dict(yaml_text.parse((workdir.reports / run_id / CONFIG_FILE).read_bytes()) or {})
    except (OSError, ValueError, TypeError):
        return {}
