# SPDX-License-Identifier: Apache-2.0
"""What the candidate and the model in serving take, measured side by side in one process."""

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from components.serving_check.check import start_probe, write_request
from components.serving_check.result import Cost, Costs


def measure_costs(candidate: str, baseline: str | None, records: Sequence[bytes], max_seconds: float) -> tuple[Costs | None, str]:
    """Times both models by turns on the same clips.

    Args:
        candidate: the SavedModel's folder.
        baseline: that of the model in serving; None where there is none.
        records: serialized tf.Examples of clips.
        max_seconds: that this may take.

    Returns:
        The costs and "", or None and why there are none, in words: a model that could be checked is not refused for that.
    """
    models = {"candidate": candidate} | ({"baseline": baseline} if baseline else {})
    with tempfile.TemporaryDirectory(prefix="serving-check-") as name:
        folder = Path(name)
        answer = folder / "costs.json"
        absolute = {name: str(Path(path).absolute()) for name, path in models.items()}
        write_request(folder, records, models=absolute, costs=str(answer))
        with (folder / "stderr").open("wb") as errors:
            process = start_probe(folder, stdout=errors, stderr=errors)
        assert process.stdin is not None
        try:
            process.wait(max_seconds)
        except subprocess.TimeoutExpired:
            return None, f"the models did not answer within {max_seconds:g} s"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            process.stdin.close()
        if not answer.exists():
            return None, "the process that timed the models died"
        found = {name: Cost(**values) for name, values in json.loads(answer.read_text()).items()}
    return Costs(candidate=found["candidate"], baseline=found.get("baseline"), ratios=_ratios(found)), ""


def _ratios(found: dict[str, Cost]) -> Cost | None:
    if "baseline" not in found:
        return None
    ours, theirs = found["candidate"].model_dump(), found["baseline"].model_dump()
    return Cost(**{name: value / max(theirs[name], 1e-9) for name, value in ours.items()})
