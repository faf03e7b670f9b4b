# SPDX-License-Identifier: Apache-2.0
"""What happens next to a model that the Pusher has not come to yet."""

import shlex

from components.gate.result import GateResult
from components.review_report.headline import Standing

PACKAGE = "decision.yaml"


def before_push(gate: GateResult, run_id: str, push_mode: str, decide_by_package: bool) -> Standing:
    """Where the model stands when the report is a node of the pipeline.

    Args:
        gate: what it found.
        run_id: the run's id.
        push_mode: of the Pusher.
        decide_by_package: whether a person decides by a pipeline of one step, as on Kubeflow, and not in a work folder.
    """
    stays = f"version {gate.baseline_version} stays in serving" if gate.baseline_version else "nothing is in serving"
    if not gate.blessed:
        again = "Train on more or longer clips, or for more epochs."
        return Standing("refused", f"The Pusher pushes nothing, and {stays}. {again}")
    commands = _package_commands(run_id) if decide_by_package else []
    where = "" if decide_by_package else " The report in the run's own folder has the commands for that."
    if push_mode == "review":
        return Standing("waiting", f"Push mode is review: until a person approves the model, {stays}.{where}", commands)
    comes = "puts the model into serving as a new version"
    if push_mode == "canary":
        comes = f"makes the model a candidate, which a server tries before it comes into serving; until then {stays}"
    return Standing(
        "blessed",
        f"The Pusher comes next and {comes}. The model waits for a person instead where another "
        f"model came into serving meanwhile, or where a person took this very model out of serving before.{where}",
        commands,
    )


def _package_commands(run_id: str) -> list[tuple[str, str]]:
    def submit(action: str) -> str:
        settings = (f"action={action}", f"run_id={run_id}", "by=NAME", "note=TEXT")
        return shlex.join(["audio-gender", "submit", PACKAGE, *(word for setting in settings for word in ("--set", setting))])

    compiled = f"audio-gender compile --decision --config CONFIG --image IMAGE -o {PACKAGE}"
    return [("once, the pipeline for decisions", compiled), ("approve", submit("approve")), ("reject", submit("reject"))]
