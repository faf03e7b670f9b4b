# SPDX-License-Identifier: Apache-2.0
"""`audio-gender runs` and `review`: what runs came to."""

import dataclasses
import json
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beam_jobs.console import console, progress, say, tell
from beam_jobs.paths import local_path
from pipeline.commands.options import JsonFile, WorkFolder, write, write_json
from pipeline.table import print_table

if TYPE_CHECKING:
    from pipeline.runs import RunSummary


SHOWN_CHANGES = 6

app = typer.Typer(help="List all runs, or put two side by side.")


@app.callback(invoke_without_command=True)
def runs(
    context: typer.Context,
    workdir: WorkFolder = Path("work"),
    name: Annotated[str, typer.Option(help="Only runs with this `run --name`.")] = "",
    tags: Annotated[list[str] | None, typer.Option("--tag", help="Only runs with this tag; can be given several times.")] = None,
    json_file: JsonFile = None,
) -> None:
    """List all runs with their verdicts, oldest first, and in what each differs from the one before."""
    if context.invoked_subcommand:
        return
    from pipeline.runs import list_runs
    from pipeline.workdir import WorkDir

    folder = WorkDir.at(workdir)
    found = list_runs(folder, name, tags or ())
    if not write_json(json_file, json.dumps([dataclasses.asdict(item) for item in found], indent=1)):
        return
    print_table(
        f"Runs in {folder.root}",
        ("run", "verdict", "accuracy", "what"),
        [
            (
                item.run_id or "-",
                item.verdict,
                f"{item.accuracy:.4f}" if item.accuracy is not None else "-",
                "; ".join(_about(item)),
            )
            for item in found
        ],
        left=4,
    )
    tell(f"in serving: {in_serving(str(folder.serving))}")


def _about(run: "RunSummary") -> Iterator[str]:
    called = " ".join(filter(None, [run.name, *(f"#{tag}" for tag in run.tags)]))
    if called:
        yield called
    decided = f"by {run.decided_by}{' (override)' if run.override else ''}" if run.decided_by else ""
    if version := f"version {run.pushed_version}" if run.pushed_version else "":
        yield f"{version}, {decided}" if decided else version
    elif decided:
        yield decided
    yield from filter(None, [run.note, run.decision_note])
    yield from run.changed[:SHOWN_CHANGES]
    if len(run.changed) > SHOWN_CHANGES:
        yield f"and {len(run.changed) - SHOWN_CHANGES} more changes (`runs compare` has all)"


@app.command("compare")
def compare(
    context: typer.Context,
    first: Annotated[str, typer.Argument(metavar="A", help="A run's id, as `audio-gender runs` lists it.")],
    second: Annotated[str, typer.Argument(metavar="B", help="The other run's id.")],
    workdir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Work folder, with everything that runs write; default: work.")
    ] = None,
    json_file: JsonFile = None,
    html: Annotated[
        Path | None,
        typer.Option(parser=local_path, metavar="FILE", help="Page to write, with pictures of metrics over all runs."),
    ] = None,
) -> None:
    """Put two runs side by side: verdicts, settings and data that differ, and metrics by slice (B minus A)."""
    from pipeline.compare import compare as compare_runs
    from pipeline.compare import show
    from pipeline.workdir import WorkDir

    # `runs --workdir DIR compare A B` means the same.
    folder = workdir or (context.parent.params["workdir"] if context.parent else Path("work"))
    work = WorkDir.at(folder)
    found = compare_runs(work, first, second)
    if write_json(json_file, json.dumps(dataclasses.asdict(found), indent=1)):
        show(found)
    if html:
        from pipeline.compare_page import compare_page

        write(html, compare_page(work, found), "--html")
        say(f"next: open {html} in a browser")


def in_serving(serving: str) -> str:
    """Which version a serving folder holds, and where it comes from, in words."""
    from components.pusher.serving_folder import read_provenance, versions
    from components.pusher.trials import candidate

    found = versions(Path(serving))
    if not found:
        return "no version"
    provenance = read_provenance(Path(serving), found[-1])
    tried = candidate(Path(serving))
    beside = f"; candidate {tried} is on trial" if tried else ""
    if provenance is None or not provenance.run_id:
        return f"version {found[-1]}, of unknown origin{beside}"
    copied = f", a copy of version {provenance.rolled_back_to}" if provenance.rolled_back_to else ""
    return f"version {found[-1]}{copied}, of run {provenance.run_id}{beside}"


def review(
    run: Annotated[str | None, typer.Argument(metavar="RUN", help="Run to review; default: the newest.")] = None,
    against: Annotated[
        str | None, typer.Option(metavar="RUN", help="Run to compare with; default: the model that was in serving.")
    ] = None,
    workdir: WorkFolder = Path("work"),
    html: Annotated[
        Path | None, typer.Option(parser=local_path, metavar="FILE", help="Page to write; default: in the run's report folder.")
    ] = None,
    browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser (only from a terminal).")] = True,
) -> None:
    """Write the page about a run, alone or beside another, and print what it comes to."""
    from pipeline.workdir import WorkDir

    with progress("drawing the page", 1):
        from pipeline.review import review as write_review

        path = write_review(WorkDir.at(workdir), run, against, html)
    if browser and console.is_terminal:
        webbrowser.open(path.as_uri())
