# SPDX-License-Identifier: Apache-2.0
"""What `audio-gender review` prints: the page's verdict, figures and failures, and what to do next."""

from pathlib import Path

from rich.markup import escape

from beam_jobs.console import results, say, tell
from components.gate.result import Estimate, Robustness, Slice, metric_name
from components.review_report.formatting import (
    decimal,
    degradation_name,
    direction,
    interval,
    signed,
    signed_interval,
    verdict,
)
from components.review_report.headline import status, tone
from components.review_report.inputs import ReportInputs
from pipeline.run_summary import COLORS
from pipeline.table import print_table

MAX_FAILURES = 10


def show(inputs: ReportInputs, path: Path) -> None:
    """Prints the verdict, the figures on all test clips, the thresholds that fail, and what to do next."""
    decided = inputs.decided or inputs.gate
    results.print(
        f"[bold {COLORS[tone(decided, inputs.standing)]}]{status(decided, inputs.standing)}[/]  {escape(verdict(decided)[1])}"
    )
    for line in filter(None, (inputs.comparison, inputs.warning)):
        tell(line)
    if inputs.gate.slices:
        _print_metrics(inputs, inputs.gate.slices[0])
    if inputs.gate.robustness:
        tell(_worst_degradation(inputs.gate.robustness))
    failing = [check for check in decided.checks if check.decides and not check.ok]
    for check in failing[:MAX_FAILURES]:
        if check.value is None:
            tell(f"  fails: {metric_name(check)} on {check.slice} could not be measured, and has a threshold")
            continue
        change, bound = (", change" if check.kind == "change" else ""), ("at most" if check.metric == "ece" else "at least")
        required = f"{bound} {check.threshold:g} is required"
        tell(f"  fails: {metric_name(check)}{change} on {check.slice}: {check.value:.4f}, {required}")
    if len(failing) > MAX_FAILURES:
        tell(f"  … and {len(failing) - MAX_FAILURES} more (all are in the report)")
    tell(f"report: {path}")
    say(f"next: {_next_step(inputs, path)}")


def _next_step(inputs: ReportInputs, path: Path) -> str:
    standing = inputs.standing
    if standing is None or standing.verdict != "waiting":
        return f"open {path} in a browser"
    return f"open {path}, then " + ", or ".join(f"{what}: `{command}`" for what, command in standing.commands)


def _print_metrics(inputs: ReportInputs, overall: Slice) -> None:
    compared = any(item.baseline for item in overall.metrics)
    paired = any(item.difference for item in overall.metrics)
    columns = ["metric", inputs.candidate_name, *([inputs.baseline_name] if compared else [])]
    rows = []
    for item in overall.metrics:
        row = [metric_name(item), _with_interval(item.candidate)]
        if compared:
            row.append(_with_interval(item.baseline))
        if paired:
            value = item.difference.value if item.difference else None
            row += [f"{signed(value)} {signed_interval(item.difference)}".rstrip(), direction(item)]
        rows.append(row)
    title = f"{overall.clips} test clips of {overall.speakers} speakers ({100 * inputs.gate.confidence:g} % intervals)"
    print_table(title, [*columns, *(["difference", ""] if paired else [])], rows)


def _worst_degradation(robustness: Robustness) -> str:
    """Where accuracy is lowest, in a line."""
    found = {}
    for row in robustness.rows:
        accuracy = next((item.candidate.value for item in row.metrics if item.metric == "accuracy"), None)
        if accuracy is not None:
            found[degradation_name(row)] = accuracy
    clean = found.pop("clean", None)
    said = f"degraded: accuracy on {len(robustness.clip_ids)} clips is {decimal(clean)} clean"
    if found:
        worst = min(found, key=lambda name: found[name])
        said += f", at worst {decimal(found[worst])} ({worst})"
    missing = sum(bool(row.not_measured) for row in robustness.rows)
    return said + (f"; {missing} not measured" if missing else "")


def _with_interval(found: Estimate | None) -> str:
    return f"{decimal(found.value if found else None)} {interval(found)}".rstrip()
