# SPDX-License-Identifier: Apache-2.0
"""One figure held against one threshold, and what is said of one that does not hold."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from components.evaluator.slices import ALL
from components.gate.config import GateConfig
from components.gate.result import Check, Estimate, metric_name

ROUNDING = 1e-6
"""An equal model passes a threshold of 0 on its loss: sums of the same numbers in another order differ in the last digits."""
LOWER_IS_BETTER = "ece"
DEGRADED = "degradation="
"""How the names of degraded clips begin (`components.robustness.scores.Condition.name`)."""


def check_of(
    config: GateConfig,
    estimate: Estimate,
    threshold: float,
    *,
    metric: str,
    slice_name: str,
    clips: int,
    enough: bool = True,
    required: bool = False,
    kind: Literal["value", "change"] = "value",
    class_name: str | None = None,
) -> Check:
    """Holds an estimate, or the pessimistic end of its interval, against a threshold.

    Args:
        config: says which of the two.
        estimate: of the metric, or of its change.
        threshold: at least, or for `ece` at most.
        metric: its name.
        slice_name: what the clips are.
        clips: how many.
        enough: they are enough to decide.
        required: a figure that is not defined fails; else it does not decide.
        kind: of the estimate.
        class_name: that the metric is of.
    """
    lower = metric == LOWER_IS_BETTER
    pessimistic = estimate.high if lower else estimate.low
    value = estimate.value if config.decide_on == "estimate" or pessimistic is None else pessimistic
    margin = None if value is None else threshold - value if lower else value - threshold
    return Check(
        kind=kind,
        metric=metric,
        class_name=class_name,
        slice=slice_name,
        clips=clips,
        value=value,
        threshold=threshold,
        margin=margin,
        decides=required if margin is None else enough,
        ok=not required if margin is None else margin >= -ROUNDING,
    )


def reasons(failed: Iterable[Check], config: GateConfig, not_measured: Mapping[str, str]) -> list[str]:
    """The checks that failed, in words: a clause for each metric, what concerns all clips first, then the worst.

    Args:
        failed: the checks.
        config: says whether the ends of the intervals decided.
        not_measured: why a slice has no figures, by its name.
    """
    groups: dict[tuple[str, str, bool], list[Check]] = {}
    for check in sorted(failed, key=lambda check: (check.slice != ALL, -math.inf if check.margin is None else check.margin)):
        groups.setdefault((check.kind, check.metric, check.slice.startswith(DEGRADED)), []).append(check)
    return [_clause(first, config, not_measured.get(first.slice, "")) + _like_it(more) for first, *more in groups.values()]


def _like_it(checks: Sequence[Check]) -> str:
    if not checks:
        return ""
    worst = min(checks, key=lambda check: -math.inf if check.margin is None else check.margin)
    found = "not measured" if worst.value is None else f"{worst.value:+.4f}" if worst.kind == "change" else f"{worst.value:.4f}"
    others = f"{len(checks)} more like it, worst " if len(checks) > 1 else ""
    return f" (and {others}{metric_name(worst)} on {worst.slice}: {found})"


def _clause(check: Check, config: GateConfig, not_measured: str) -> str:
    """A failed check as a clause: `accuracy on label=female is 0.9412, below 0.95`."""
    name, lower = metric_name(check), check.metric == LOWER_IS_BETTER
    if check.value is None:
        why = not_measured or "it is not defined on these clips"
        return f"{name} on {check.slice} could not be measured: {why}"
    end = f"the {'upper' if lower else 'lower'} bound of " if config.decide_on == "lower_bound" else ""
    what = f"{end}{name} on {check.slice}"
    value, threshold = check.value, abs(check.threshold)
    if check.kind == "value":
        return f"{what} is {value:.4f}, {'above' if lower else 'below'} {threshold:g}"
    return f"{what} is {abs(value):.4f} {'above' if lower else 'below'} the model now in serving, more than {threshold:g} allowed"
