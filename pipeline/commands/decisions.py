# SPDX-License-Identifier: Apache-2.0
"""`audio-gender approve`, `reject` and `rollback`: what people decide about models."""

from pathlib import Path
from typing import Annotated

import typer

from beam_jobs.command_line import command
from beam_jobs.console import say, tell
from pipeline.commands.options import By, Note, PublicKey, RunId, WorkFolder
from pipeline.commands.runs import in_serving


def approve(
    run_id: RunId,
    by: By = "",
    note: Note = "",
    override: Annotated[
        bool,
        typer.Option(
            "--override",
            help="Push even if the gate refused the model, or another model is in serving by now; needs a --note.",
        ),
    ] = False,
    workdir: WorkFolder = Path("work"),
) -> None:
    """Push the model of a run that waits for approval or is on trial."""
    from pipeline.decisions import approve as approve_run
    from pipeline.workdir import WorkDir

    folder = WorkDir.at(workdir)
    result = approve_run(folder, run_id, by, note, override)
    against = ""
    if override:
        from pipeline.lineage import artifact_of_run

        blessed = artifact_of_run(folder, run_id, "ModelBlessing").custom_properties["blessed"].int_value
        against = ", by an override" if blessed else ", overriding the gate"
    tell(f"pushed: run {run_id} is in serving as version {result.serving_version}, approved by {by}{against}")
    back = command("rollback", "--workdir", workdir)
    say(f"next: serve {result.folders['serving']} (docs/serving.md); to go back: `{back}`")


def reject(run_id: RunId, by: By = "", note: Note = "", workdir: WorkFolder = Path("work")) -> None:
    """Record that the model of a run does not go into serving, and why."""
    from pipeline.decisions import reject as reject_run
    from pipeline.workdir import WorkDir

    result = reject_run(WorkDir.at(workdir), run_id, by, note)
    tell(f"rejected: run {run_id}, by {by}; still in serving: {in_serving(result.folders['serving'])}")


def rollback(
    version: Annotated[
        int | None, typer.Argument(metavar="VERSION", help="Default: the model that was in serving before the present one.")
    ] = None,
    by: Annotated[
        str | None, typer.Option("--by", metavar="NAME", help="Who decides; default: the user of this session.")
    ] = None,
    note: Note = "",
    public_key: PublicKey = None,
    workdir: WorkFolder = Path("work"),
) -> None:
    """Put an earlier version back into serving, as a new version that is a copy of it."""
    from pipeline.decisions import rollback as roll_back
    from pipeline.workdir import WorkDir

    folder = WorkDir.at(workdir)
    decision = roll_back(folder, version, by, note, public_key)
    tell(f"rolled back to version {decision.rolled_back_to}, by {decision.by}; now in serving: {in_serving(str(folder.serving))}")
