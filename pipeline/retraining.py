# SPDX-License-Identifier: Apache-2.0
"""Retraining because of an alarm: one run at a time, and none in the quiet period after one.

Nothing is kept about it but the runs themselves: whether one is at work and when the last one ended is asked of the work folder
or of Kubeflow, so a process that is killed leaves nothing behind that would stop the next one.
"""

import datetime
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from beam_jobs.console import say
from beam_jobs.errors import UserError
from beam_jobs.locks import lock
from components.alarm import Alarm
from components.watch.clocks import MAX_AHEAD_S
from pipeline.config import PipelineConfig
from pipeline.outcome import read_outcomes
from pipeline.workdir import WorkDir

LOCK_FILE = ".retraining"
"""In the folder of the log, which all calls about the same requests share."""
NAME = "retraining"
"""Of the runs, in the list of runs."""


@dataclass(frozen=True)
class Before:
    """The last retraining.

    Attributes:
        name: what it is called.
        at_work: whether it still is.
        ended: when it came to its end; None where it failed or was killed.
    """

    name: str
    at_work: bool
    ended: datetime.datetime | None


def retrain(log: Path, quiet_days: float, before: Callable[[], Before | None], start: Callable[[Before | None], str]) -> str:
    """Starts a run, unless another one is at work or a quiet period is not over.

    Args:
        log: the folder of the log, in which a file is locked meanwhile.
        quiet_days: after a retraining that came to its end.
        before: looks for the last retraining.
        start: starts one, told of the last one; says what became of it.

    Returns:
        What was done, or why nothing was, in one line.

    Raises:
        UserError: the file cannot be locked, or what `before` and `start` raise.
    """
    try:
        held = lock(log / LOCK_FILE, wait=False)
    except BlockingIOError:
        return "not retrained: another call is retraining now"
    except OSError as error:
        raise UserError(f"{log / LOCK_FILE}: {error.strerror}; --retrain locks this file, make the folder writable") from None
    with held:
        last = before()
        if last and last.at_work:
            return f"not retrained: {last.name} is still running"
        if last and last.ended:
            quiet_until = last.ended + datetime.timedelta(days=quiet_days)
            if datetime.datetime.now(datetime.UTC) < quiet_until:
                return (
                    f"not retrained: {last.name} ended on {_minute(last.ended)}, and watch.quiet_days {quiet_days:g} "
                    f"last until {_minute(quiet_until)}"
                )
        return start(last)


def by_a_wrong_clock(name: str, when: datetime.datetime) -> bool:
    """Whether a retraining is dated in the future, and so not counted: that time may be years away. Says so."""
    ahead = when > datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=MAX_AHEAD_S)
    if ahead:
        say(f"warning: {name} is dated {_minute(when)}, in the future, because a clock was wrong: it is not counted")
    return ahead


def _minute(when: datetime.datetime) -> str:
    return f"{when.astimezone(datetime.UTC):%Y-%m-%d %H:%M} UTC"


def work_folder(serving: Path) -> WorkDir:
    """The work folder whose models a serving folder holds.

    Raises:
        UserError: it is none of a work folder, so a run would push elsewhere.
    """
    workdir = WorkDir.at(serving.parent)
    if workdir.serving != Path(os.path.realpath(serving)):
        raise UserError(
            f"--serving {serving}: is not the folder `serving` of a work folder, where a run on this machine would push; "
            "give one, or --package to retrain on Kubeflow"
        )
    return workdir


def last_here(workdir: WorkDir) -> Before | None:
    """The last retraining of a work folder; None where there was none."""
    outcomes = read_outcomes(workdir)
    if workdir.at_work():  # whoever started it; an approval or a prune is no run
        running = next((run_id for run_id in reversed(outcomes) if outcomes[run_id].state == "at work"), None)
        return Before(f"run {running}" if running else f"another command in {workdir.root}", True, None)
    for last in reversed([outcome for outcome in outcomes.values() if outcome.alarm]):
        ended = datetime.datetime.fromisoformat(last.started) + datetime.timedelta(seconds=last.seconds)
        if not by_a_wrong_clock(f"run {last.run_id}", ended):
            return Before(f"run {last.run_id}", False, ended if last.state == "finished" else None)
    return None


def run_here(alarm: Alarm, config: PipelineConfig, corpus: str | None, workdir: WorkDir, last: Before | None) -> str:
    """Runs the pipeline on this machine; goes on with a training that was killed. Returns what became of it.

    Raises:
        UserError: as `pipeline.run.run`.
    """
    from pipeline.run import NothingNewError, run

    try:
        result = run(config, corpus, workdir.root, resume=last is not None and last.ended is None, name=NAME, alarm=alarm)
    except NothingNewError as error:
        return f"not retrained: {error}"
    if result.verdict == "pushed":
        return f"retrained: run {result.run_id} pushed version {result.serving_version}"
    return f"retrained: run {result.run_id}: {result.verdict}, {result.reason}"
