"""A run's result: as data for scripts, as a table for people."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import yaml
from pydantic import BaseModel
from rich.markup import escape
from rich.table import Table

from beam_jobs.console import console
from components.gate.result import GateResult, Slice
from components.tuner.search_space import format_settings
from pipeline.workdir import WorkDir

RESULT_FILE = "run.json"
CONFIG_FILE = "config.yaml"
REPORT_FILE = "report.html"
APPROVAL_RUN = "-approved-"
"""In the name of the partial run that pushes an approved model: `<run>-approved-<time>`."""


class NodeTime(BaseModel):
    """How long a node took."""

    node: str
    seconds: float
    cached: bool


Kind = Literal["approved", "rejected", "rolled back"]


class Decision(BaseModel):
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

    `waiting` is a blessed model that a person has to approve or reject. `metrics` are the candidate's by slice, as
    `metrics_by_slice` gives them; `tuned` are the settings that the Tuner chose, None where none ran.
    """

    run_id: str
    verdict: Literal["pushed", "refused", "waiting", "rejected"]
    reason: str
    metrics: dict[str, dict[str, Any]]
    classes: list[str]
    tuned: dict[str, Any] | None = None
    serving_version: str | None
    baseline_version: str | None
    inputs_digest: str
    folders: dict[str, str]
    nodes: list[NodeTime]
    seconds: float
    dataset_fingerprint: str = ""
    code_revision: str = ""
    decision: Decision | None = None


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
    """Stores the result with the run; the file appears whole or not at all."""
    path = workdir.reports / result.run_id / RESULT_FILE
    temporary = path.with_suffix(".tmp")
    temporary.write_text(result.model_dump_json(indent=1))
    temporary.replace(path)


def read_results(workdir: WorkDir) -> list[RunResult]:
    """Results of all finished runs, oldest first."""
    paths = sorted(workdir.reports.glob(f"*/{RESULT_FILE}"))
    return [RunResult.model_validate(json.loads(path.read_text())) for path in paths]


def read_result(workdir: WorkDir, run_id: str) -> RunResult:
    """Result of a finished run."""
    return RunResult.model_validate_json((workdir.reports / run_id / RESULT_FILE).read_text())


def run_of_version(results: Iterable[RunResult], version: str | None) -> RunResult | None:
    """The run that pushed a version, the newest one where several did; None where none of them did."""
    made = [result for result in results if version and result.verdict == "pushed" and result.serving_version == version]
    return made[-1] if made else None


def read_config(workdir: WorkDir, run_id: str) -> dict[str, Any]:
    """A run's resolved configuration, as it was then; empty where its file is gone."""
    try:
        return dict(yaml.safe_load((workdir.reports / run_id / CONFIG_FILE).read_text(encoding="utf-8")) or {})
    except OSError:
        return {}


def show(result: RunResult) -> None:
    """Prints metrics, verdict, folders and what to type next."""
    table = Table(title="Test speakers, whom the model never heard (confusion: rows are labels)", title_justify="left")
    table.add_column("slice", no_wrap=True)
    for column in ("clips", "accuracy", "ECE", *(f"AUC {name}" for name in result.classes)):
        table.add_column(column, justify="right")
    table.add_column("confusion", justify="right", no_wrap=True)
    for name, metrics in result.metrics.items():
        table.add_row(
            name,
            str(metrics["clips"]),
            _figure(metrics["accuracy"]),
            _figure(metrics["ece"]),
            *(_figure(metrics["auc"][label]) for label in result.classes),
            " | ".join(" ".join(map(str, row)) for row in metrics["confusion_matrix"]),
        )
    console.print(table)
    if result.tuned:
        console.print(f"tuned: {format_settings(result.tuned)}", markup=False)
    color = {"pushed": "green", "waiting": "yellow"}.get(result.verdict, "red")
    console.print(f"[bold {color}]{result.verdict}[/]")
    for line in result.reason.split("; "):
        console.print(f"  {line}", markup=False)
    width = max(map(len, result.folders))
    for name, path in result.folders.items():
        console.print(f"  {name:<{width}}  {path}", markup=False)
    console.print(f"next: {_next(result)}", markup=False)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _next(result: RunResult) -> str:
    runs = f"audio-gender runs --workdir {result.folders['workdir']}"
    report = f"{result.folders['report']}/{REPORT_FILE}"
    if result.verdict == "pushed":
        return f"serve {result.folders['serving']} (docs/serving.md); the report: {report}; all runs: `.venv/bin/{runs}`"
    if result.verdict == "waiting":
        decide = f"{result.run_id} --workdir {result.folders['workdir']} --by NAME --note TEXT"
        return f"open {report}, then `.venv/bin/audio-gender approve {decide}`, or reject instead of approve"
    return (
        "train on more or longer clips (--set clips.num_clips.train=…, --set train.epochs=…); "
        f"the report: {report}; all runs: `.venv/bin/{runs}`"
    )


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> None:
    """Prints a table whose first `left` columns are text and whose others are figures."""
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < left else "right")
    for row in rows:
        table.add_row(*map(escape, row))  # a name may hold what rich would take for markup
    console.print(table)
