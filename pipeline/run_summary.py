"""What `audio-gender run` prints at its end: the result, and what to do next."""

from beam_jobs.command_line import command
from beam_jobs.console import results, tell
from components.tuner.search_space import format_settings
from pipeline.result import REPORT_FILE, RunResult
from pipeline.table import MAY_BREAK, print_table


def show(result: RunResult) -> None:
    """Prints metrics, verdict and folders."""
    print_table(
        "Test speakers, whom the model never heard (confusion: rows are labels)",
        ("slice", "clips", "accuracy", "ECE", *(f"AUC {name}" for name in result.classes), "confusion"),
        [
            (
                name,
                str(metrics["clips"]),
                _figure(metrics["accuracy"]),
                _figure(metrics["ece"]),
                *(_figure(metrics["auc"][label]) for label in result.classes),
                MAY_BREAK.join(" ".join(map(str, row)) for row in metrics["confusion_matrix"]),
            )
            for name, metrics in result.metrics.items()
        ],
    )
    if result.same_in_all:
        same = ", ".join(f"{feature} ({value})" for feature, value in result.same_in_all.items())
        tell(f"the same in all test clips, so no slices: {same}")
    if result.tuned:
        tell(f"tuned: {format_settings(result.tuned)}")
    color = {"pushed": "green", "waiting": "yellow"}.get(result.verdict, "red")
    results.print(f"[bold {color}]{result.verdict}[/]")
    for line in result.reason.split("; "):
        tell(f"  {line}")
    width = max(map(len, result.folders))
    for name, path in result.folders.items():
        tell(f"  {name:<{width}}  {path}")


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def next_step(result: RunResult) -> str:
    """What to do next, in words."""
    workdir = result.folders["workdir"]
    report = f"{result.folders['report']}/{REPORT_FILE}"
    if result.verdict == "waiting":
        decide = command("approve", result.run_id, "--workdir", workdir, "--by", "NAME", "--note", "TEXT")
        return f"open {report}, then `{decide}`, or reject instead of approve"
    rest = f"the report: {report}; all runs: `{command('runs', '--workdir', workdir)}`"
    if result.verdict == "pushed":
        ask = command("predict", "FILE", "--serving", result.folders["serving"])
        return f"ask the model: `{ask}`, or serve {result.folders['serving']} (docs/serving.md); {rest}"
    return f"train on more or longer clips (--set clips.num_clips.train=…, --set train.epochs=…); {rest}"
