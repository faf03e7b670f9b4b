"""`audio-gender runs` and `review`: what runs came to."""

import dataclasses
import datetime
import json
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from beam_jobs.console import console, progress, tell
from beam_jobs.paths import local_path
from pipeline.commands.options import JsonFile, WorkFolder, write_json
from pipeline.table import print_table


def runs(workdir: WorkFolder = Path("work"), json_file: JsonFile = None) -> None:
    """List all runs with their verdicts, from the metadata store."""
    from pipeline.lineage import list_runs
    from pipeline.result import read_results
    from pipeline.workdir import WorkDir

    folder = WorkDir(workdir.absolute())
    found = list_runs(folder)
    accuracy = {result.run_id: result.metrics["all"]["accuracy"] for result in read_results(folder)}
    rows = [{**dataclasses.asdict(item), "accuracy": accuracy.get(item.run_id)} for item in found]
    if not write_json(json_file, json.dumps(rows, indent=1)):
        return
    print_table(
        f"Runs in {folder.root}",
        ("run", "started", "verdict", "version", "decided by", "accuracy"),
        [
            (
                item.run_id or "-",
                datetime.datetime.fromtimestamp(item.started_ms / 1000).strftime("%Y-%m-%d %H:%M"),
                f"{item.verdict} ({item.note})" if item.note else item.verdict,
                item.pushed_version or "-",
                f"{item.decided_by or '-'}{' (override)' if item.override else ''}",
                f"{accuracy[item.run_id]:.4f}" if accuracy.get(item.run_id) is not None else "-",
            )
            for item in found
        ],
        left=5,
    )
    tell(f"in serving: {in_serving(str(folder.serving))}")


def in_serving(serving: str) -> str:
    """Which version a serving folder holds, and where it comes from, in words."""
    from components.pusher.serving_folder import read_provenance, versions

    found = versions(Path(serving))
    if not found:
        return "no version"
    provenance = read_provenance(Path(serving), found[-1])
    if provenance is None or not provenance.run_id:
        return f"version {found[-1]}, of unknown origin"
    copied = f", a copy of version {provenance.rolled_back_to}" if provenance.rolled_back_to else ""
    return f"version {found[-1]}{copied}, of run {provenance.run_id}"


def review(
    run: Annotated[str | None, typer.Argument(metavar="RUN", help="Run to review; else the newest.")] = None,
    against: Annotated[
        str | None, typer.Option(metavar="RUN", help="Run to compare with; else the model then in serving.")
    ] = None,
    workdir: WorkFolder = Path("work"),
    html: Annotated[
        Path | None, typer.Option(parser=local_path, metavar="FILE", help="Page to write; else one in the run's report folder.")
    ] = None,
    browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in a browser, where there is a terminal.")
    ] = True,
) -> None:
    """Write the page about a run, alone or beside another, and print what it comes to."""
    from pipeline.workdir import WorkDir

    with progress("drawing the page", 1):
        from pipeline.review import review as write_review

        path = write_review(WorkDir(workdir.absolute()), run, against, html)
    if browser and console.is_terminal:
        webbrowser.open(path.as_uri())
