# SPDX-License-Identifier: Apache-2.0
"""Where a run's model stands in its work folder, and what a person may type next."""

import dataclasses

from components.review_report.facts import minute
from components.review_report.headline import Standing
from pipeline.outcome import now
from pipeline.result import RunResult
from pipeline.workdir import WorkDir


def standing_of(workdir: WorkDir, result: RunResult, servable: bool) -> Standing:
    """Where the model of a finished run stands now.

    Args:
        workdir: where the run was made.
        result: what it came to.
        servable: whether the model passed the serving check; one that did not is never pushed.
    """
    standing = _standing(workdir, result, servable)
    return dataclasses.replace(standing, as_of=minute(now()), anew=workdir.command("review", result.run_id))


def _standing(workdir: WorkDir, result: RunResult, servable: bool) -> Standing:
    serving = workdir.serving_version()
    stays = f"version {serving} stays in serving" if serving else "nothing is in serving"
    by, note = ("--by", "NAME"), ("--note", "TEXT")
    if result.verdict == "pushed":
        today = f"version {serving}" if serving else "no model"
        now = "It is in serving" if serving == result.serving_version else f"{today[0].upper() + today[1:]} is in serving now"
        decided = f", approved by {result.decision.by}" if result.decision else ""
        decided = f" after a trial as candidate{decided}" if result.trial_version else decided
        return Standing(
            "pushed",
            f"The model was pushed as version {result.serving_version}{decided}. {now}, and nothing is left to decide.",
            [("to go back", workdir.command("rollback", *by, *note))],
        )
    override = ("to push it anyway", workdir.command("approve", result.run_id, "--override", *by, "--note", "REASON"))
    if result.verdict == "waiting":
        why = f"waits for approval ({result.waiting_for})" if result.waiting_for else "waits for approval"
        reject = ("reject", workdir.command("reject", result.run_id, *by, *note))
        if serving != result.baseline_version:
            then, today = (f"version {version}" if version else "no model" for version in (result.baseline_version, serving))
            changed = f"The model was compared with {then}, and {today} is in serving now: make a new run, or override."
            return Standing("waiting", f"It {why}. {changed}", [override, reject])
        return Standing(
            "waiting",
            f"It {why}; until a person decides, {stays}.",
            [("approve", workdir.command("approve", result.run_id, *by, *note)), reject],
        )
    if result.verdict == "on trial":
        return Standing(
            "on trial",
            f"A server of {workdir.serving} tries it on some of the requests, then makes it version {result.trial_version} or "
            f"rejects it; until then {stays}. Where no `audio-gender serve` runs, nothing decides but a person.",
            [
                ("to push it now", workdir.command("approve", result.run_id, *by, *note)),
                ("reject", workdir.command("reject", result.run_id, *by, *note)),
            ],
        )
    if result.verdict == "superseded":
        why = result.reason.partition("; ")[0]
        return Standing(
            "superseded",
            f"It was a candidate, and nothing was decided about it: {why}. {stays[0].upper() + stays[1:]}.",
            [override],
        )
    again = "Train on more or longer clips, or for more epochs, and make a new run."
    if result.verdict == "refused":
        if not servable:
            return Standing(
                "refused", f"Nothing was pushed, and {stays}. No override can push a model that cannot be served. {again}"
            )
        return Standing("refused", f"Nothing was pushed, and {stays}. {again}", [override])
    said = result.decision
    who = f"by {said.by} on {said.when[:10]}{f': {said.note}' if said.note else ''}" if said else "by a person"
    return Standing("rejected", f"Rejected {who}. Nothing was pushed, {stays}, and no later run pushes this model by itself.")
