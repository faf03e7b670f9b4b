# SPDX-License-Identifier: Apache-2.0
"""What `audio-gender run` prints at its end: the result, and what to do next."""

from collections.abc import Sequence
from typing import Any

from beam_jobs.command_line import command
from beam_jobs.console import results, tell
from components.gate.result import GateResult
from components.review_report.headline import Standing, tone
from components.tuner.search_space import format_settings
from pipeline.result import REPORT_FILE, RunResult
from pipeline.table import MAY_BREAK, print_table

COLORS = {"good": "green", "open": "yellow", "bad": "red"}
"""Of a verdict, by its tone: the one rule of the page, of `run` and of `review`."""

MAX_COLUMNS = 3
"""Classes that the table has columns for: those of two labels and `mixed`. Of more it shows the one with the lowest AUC."""


def show(result: RunResult, gate: GateResult) -> None:
    """Prints metrics, verdict and folders of a run, and what its gate found as the verdict's colour."""
    few = len(result.classes) <= MAX_COLUMNS
    print_table(
        "Test speakers, whom the model never heard"
        + (" (confusion: rows are labels)" if few else " (the report has each label)"),
        ("slice", "clips", "accuracy", "ECE", *([f"AUC {name}" for name in result.classes] if few else ["lowest AUC"]))
        + (("confusion",) if few else ()),
        [
            (name, str(metrics["clips"]), _figure(metrics["accuracy"]), _figure(metrics["ece"]))
            + (_all(result.classes, metrics) if few else (_lowest(metrics["auc"]),))
            for name, metrics in result.metrics.items()
        ],
    )
    if result.same_in_all:
        same = ", ".join(f"{feature} ({value})" for feature, value in result.same_in_all.items())
        tell(f"the same in all test clips, so no slices: {same}")
    if result.tuned:
        tell(f"tuned: {format_settings(result.tuned)}")
    results.print(f"[bold {COLORS[tone(gate, Standing(result.verdict))]}]{result.verdict}[/]")
    waits = f"waits for approval ({result.waiting_for})" if result.waiting_for else ""  # whole: a note may have a semicolon
    for line in filter(None, [waits, *result.reason.removeprefix(f"{waits}; ").split("; ")]):
        tell(f"  {line}")
    width = max(map(len, result.folders))
    for name, path in result.folders.items():
        tell(f"  {name:<{width}}  {path}")


def _all(classes: Sequence[str], metrics: dict[str, Any]) -> tuple[str, ...]:
    matrix = MAY_BREAK.join(" ".join(map(str, row)) for row in metrics["confusion_matrix"])
    return (*(_figure(metrics["auc"][label]) for label in classes), matrix)


def _lowest(auc: dict[str, float | None]) -> str:
    known = {label: value for label, value in auc.items() if value is not None}
    worst = min(known, key=lambda label: known[label], default=None)
    return "-" if worst is None else f"{known[worst]:.4f} {worst}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def next_step(result: RunResult) -> str:
    """What to do next, in words."""
    workdir = result.folders["workdir"]
    report = f"{result.folders['report']}/{REPORT_FILE}"
    if result.verdict == "waiting":
        decide = command("approve", result.run_id, "--workdir", workdir, "--by", "NAME", "--note", "TEXT")
        return f"open {report}, then `{decide}`, or reject instead of approve"
    serve = command("serve", "--serving", result.folders["serving"])
    if result.verdict == "on trial":
        return f"`{serve}` tries it on some of the requests, and promotes it or rolls it back; the report: {report}"
    rest = f"the report: {report}; all runs: `{command('runs', '--workdir', workdir)}`"
    if result.verdict == "pushed":
        ask = command("predict", "FILE", "--serving", result.folders["serving"])
        return f"ask the model: `{ask}`; serve it: `{serve}`; {rest}"
    return f"train on more or longer clips (--set clips.num_clips.train=…, --set train.epochs=…); {rest}"
