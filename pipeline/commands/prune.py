# SPDX-License-Identifier: Apache-2.0
"""`audio-gender prune`: removes old runs."""

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beam_jobs.console import say, tell
from beam_jobs.errors import UserError
from pipeline.commands.options import WorkFolder

if TYPE_CHECKING:
    from pipeline.prune import Plan


def prune(
    workdir: WorkFolder = Path("work"),
    keep: Annotated[int, typer.Option(min=0, metavar="N", help="Keep the newest N runs.")] = 10,
    older_than: Annotated[
        str | None,
        typer.Option(metavar="AGE", help="Remove only runs older than this, such as 12h, 30d or 8w; default: all others."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
) -> None:
    """Remove old runs with their artifacts, datasets and logs; never what serving, a waiting run or a kept run needs."""
    from pipeline.prune import parse_age
    from pipeline.prune import prune as prune_runs
    from pipeline.workdir import WorkDir

    age = parse_age(older_than) if older_than else None

    freed = 0

    def confirm(plan: "Plan") -> bool:
        nonlocal freed
        freed = plan.num_bytes()
        _show(plan)
        if dry_run or plan.is_empty():
            return False
        if yes:
            return True
        if not sys.stdin.isatty():
            raise UserError(
                "nothing was removed: there is no terminal to ask for confirmation; give --yes, or --dry-run to see what would go"
            )
        return typer.confirm(f"Remove it from {workdir}?", err=True)

    if done := prune_runs(WorkDir.at(workdir), keep, age, confirm):
        say(f"removed: {_runs(len(done.runs))}, {_megabytes(freed)} MB")


def _show(plan: "Plan") -> None:
    from pipeline.table import print_table

    if plan.runs:
        listed = ", ".join(plan.runs[:5]) + (f" and {len(plan.runs) - 5} more" if len(plan.runs) > 5 else "")
        tell(f"runs to remove ({len(plan.runs)}): {listed}")
    why = ", ".join(f"{number} {reason}" for reason, number in Counter(plan.kept.values()).items())
    stay = f"{_runs(len(plan.kept))} kept" + (f": {why}" if why else "")
    if plan.is_empty():
        tell(f"nothing to remove; {stay}")
        return
    rows = [(kind, str(len(paths)), _megabytes(plan.num_bytes(kind))) for kind, paths in plan.paths.items() if paths]
    print_table("To remove", ("what", "number", "MB"), [*rows, ("total", "", _megabytes(plan.num_bytes()))])
    tell(stay)


def _runs(number: int) -> str:
    return f"{number} run" if number == 1 else f"{number} runs"


def _megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.1f}"
