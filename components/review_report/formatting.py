# SPDX-License-Identifier: Apache-2.0
"""The verdict and its grounds in words: the same in the page and in the terminal."""

from collections.abc import Sequence
from dataclasses import dataclass

from components.gate.result import Check, Compared, Degraded, Estimate, GateResult

LOWER_IS_BETTER = frozenset({"ece"})


def degradation_name(row: Degraded) -> str:
    """`clean`, `pink noise 2`."""
    return row.name if row.degradation is None else f"{row.degradation.replace('_', ' ')} {row.strength}"


def decimal(value: float | None) -> str:
    """`0.912`; a dash for no value."""
    return "\u2013" if value is None else f"{value:.3f}"


def interval(found: Estimate | None) -> str:
    """`0.901-0.923` with an en dash; empty where there is none."""
    return "" if found is None or found.low is None or found.high is None else f"{found.low:.3f}\u2013{found.high:.3f}"


def signed_interval(found: Estimate | None) -> str:
    """The interval of a difference; empty where there is none."""
    return "" if found is None or found.low is None or found.high is None else f"{signed(found.low)} to {signed(found.high)}"


def signed(value: float | None) -> str:
    """`+0.012`, `-0.012` with a true minus sign, `0.000`; a dash for no value."""
    if value is None:
        return "\u2013"
    text = f"{value:+.3f}"
    return "0.000" if float(text) == 0 else text.replace("-", "\u2212")


def the(name: str) -> str:
    """`the candidate`, but `run 20261123-045128`."""
    return name if name.startswith("run ") else f"the {name}"


def direction(item: Compared) -> str:
    """`better`, `worse`, or `no clear difference` where the interval of the difference holds 0."""
    found = item.difference
    if found is None or found.value is None or found.low is None or found.high is None:
        return "no clear difference"
    sign = -1 if item.metric in LOWER_IS_BETTER else 1
    if min(sign * found.low, sign * found.high) > 0:
        return "better"
    return "worse" if max(sign * found.low, sign * found.high) < 0 else "no clear difference"


def accuracy_of(gate: GateResult) -> Compared | None:
    """Accuracy on all test clips."""
    return next((item for item in gate.slices[0].metrics if item.metric == "accuracy"), None) if gate.slices else None


def verdict(gate: GateResult) -> tuple[str, str]:
    """One word, and one sentence with what it rests on."""
    if gate.blessed:
        return "Blessed", f"{grounds(gate)}."
    more = len(gate.reasons) - 1
    reason = gate.reasons[0] if gate.reasons else "no reason was recorded"
    return "Refused", f"{reason}{f', and {more} more' if more > 0 else ''}; {grounds(gate)}."


def grounds(gate: GateResult) -> str:
    """What was found, whatever the thresholds ask for: accuracy with its interval, thresholds, the model in serving.

    `accuracy 0.948 [0.838-0.991] on 96 clips of 6 speakers; 40 of 44 thresholds hold, 4 undecided (too few clips); …`
    """
    found = []
    accuracy = accuracy_of(gate)
    if accuracy is not None and accuracy.candidate.value is not None:
        bounds = interval(accuracy.candidate)
        overall = gate.slices[0]
        value = f"accuracy {decimal(accuracy.candidate.value)}{f' [{bounds}]' if bounds else ' (no interval)'}"
        found.append(f"{value} on {_count(overall.clips, 'clip')} of {_count(overall.speakers, 'speaker')}")
    found.append(_thresholds(gate.checks))
    if gate.baseline_version is None:
        found.append("no model was in serving before")
    elif accuracy is not None:
        found.append(f"accuracy {compared_with(accuracy, f'version {gate.baseline_version}, in serving')}")
    return "; ".join(found)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many thresholds hold, fail, and are undecided for too few clips.

    One on a figure that is not defined, as AUC on a slice with one class, is none of these.
    """

    hold: int
    fail: int
    undecided: int

    @property
    def all(self) -> int:
        """Thresholds that say something."""
        return self.hold + self.fail + self.undecided


def is_defined(check: Check) -> bool:
    """Whether there is a figure to hold against the threshold, or there should have been one."""
    return check.decides or check.value is not None


def counts(checks: Sequence[Check]) -> Counts:
    """Thresholds by what came out; one on too few clips is undecided, whatever its figure."""
    decided = [check for check in checks if check.decides]
    hold = sum(check.ok for check in decided)
    return Counts(hold, len(decided) - hold, sum(is_defined(check) for check in checks) - len(decided))


def _thresholds(checks: Sequence[Check]) -> str:
    found = counts(checks)
    if not found.all:
        return "no thresholds are set"
    parts = [f"{found.hold} of {_count(found.all, 'threshold')} hold"]
    parts += [f"{found.fail} {'fails' if found.fail == 1 else 'fail'}"] if found.fail else []
    parts += [f"{found.undecided} undecided (too few clips)"] if found.undecided else []
    return ", ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def compared_with(item: Compared, name: str) -> str:
    """`better than run 7 (+0.012, +0.001 to +0.020)`."""
    if item.difference is None or item.difference.value is None:
        return f"not compared with {name}"
    words = {"better": "better than", "worse": "worse than"}.get(direction(item), "not clearly different from")
    found = ", ".join(filter(None, (signed(item.difference.value), signed_interval(item.difference))))
    return f"{words} {name} ({found})"
