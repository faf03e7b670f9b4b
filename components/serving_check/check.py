# SPDX-License-Identifier: Apache-2.0
"""Whether an exported model can be served: started in a process of its own, watched, and its answers compared."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import numpy as np

from beam_jobs.examples import PCM16, SAMPLE_RATE, frame_record
from components.decision_rule import over_thresholds
from components.serving_check.config import ServingCheckConfig
from components.serving_check.result import ServingCheckResult

PROBE = Path(__file__).parent / "probe.py"
SIGNATURES = ("serving_default", "wav", "waveform", "waveforms", "timeline")
OUTPUTS = ("probabilities", "classes", "thresholds", "label", "speech", "duration_s", "error")
TOLERANCE = 1e-5
"""Between the answers of each signature and what the pipeline computed for the same records."""
WATCH_EVERY_S = 0.05


def check_model(
    model: str, records: Sequence[bytes], expected: np.ndarray, classes: Sequence[str], budget: ServingCheckConfig
) -> ServingCheckResult:
    """Checks a SavedModel; whatever it does, the result says so in words.

    Args:
        model: the SavedModel's folder.
        records: serialized tf.Examples of clips.
        expected: float32 [clips, classes], what the pipeline computed for `records`.
        classes: names in the order in which the model must give them.
        budget: memory and time.
    """
    with tempfile.TemporaryDirectory(prefix="serving-check-") as folder:
        watched = _watch(model, records, Path(folder), budget)
        reasons, difference = list(watched.reasons), None
        if watched.found is not None:
            reasons += _compare(watched.found, expected, classes)
            difference = _difference(watched.found, expected)
    return ServingCheckResult(
        ok=not reasons,
        reasons=reasons,
        clips=len(records),
        seconds=round(watched.seconds, 2),
        peak_memory_mb=round(watched.peak_memory_mb, 1),
        max_difference=difference,
    )


@dataclass(frozen=True, slots=True)
class _Watched:
    """How the process fared; `found` is what it wrote, None where it did not get there."""

    reasons: list[str]
    found: dict[str, Any] | None
    seconds: float
    peak_memory_mb: float


def _watch(model: str, records: Sequence[bytes], folder: Path, budget: ServingCheckConfig) -> _Watched:
    request = write_request(
        folder,
        records,
        model=str(Path(model).absolute()),  # the process is in a folder of its own
        predictions=str(folder / "predictions.json"),
    )
    stdout, stderr = folder / "stdout", folder / "stderr"
    reasons: list[str] = []
    peak_memory_mb, started = 0.0, time.monotonic()
    with stdout.open("wb") as out, stderr.open("wb") as errors:
        process = start_probe(folder, stdout=out, stderr=errors)
        assert process.stdin is not None
        try:
            while process.poll() is None and not reasons:
                peak_memory_mb = max(peak_memory_mb, _peak_memory_mb(process.pid))
                if peak_memory_mb > budget.max_memory_mb:
                    reasons.append(f"needs more memory than serving_check.max_memory_mb {budget.max_memory_mb}")
                elif time.monotonic() - started > budget.max_seconds:
                    reasons.append(f"did not answer within serving_check.max_seconds {budget.max_seconds:g}")
                time.sleep(WATCH_EVERY_S)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            status = process.wait()
            process.stdin.close()
    seconds = time.monotonic() - started
    stage = (stdout.read_text(errors="replace").splitlines() or ["starting Python"])[-1]
    if reasons:
        return _Watched([f"{reasons[0]} ({stage})"], None, seconds, peak_memory_mb)
    if status or not Path(request["predictions"]).exists():
        return _Watched([f"its process died {stage} ({_death(status, stderr)})"], None, seconds, peak_memory_mb)
    return _Watched([], json.loads(Path(request["predictions"]).read_text()), seconds, peak_memory_mb)


def write_request(folder: Path, records: Sequence[bytes], **asked: Any) -> dict[str, Any]:
    """Writes into a probe's folder what it is asked and the clips that it is asked about."""
    request = {
        "records": str(folder / "records.tfrecord"),
        "site_packages": _site_packages(),
        "pcm16_feature": PCM16,
        "sample_rate_feature": SAMPLE_RATE,
        **asked,
    }
    Path(request["records"]).write_bytes(b"".join(part for record in records for part in frame_record(record)))
    (folder / "request.json").write_text(json.dumps(request))
    return request


def start_probe(folder: Path, stdout: IO[bytes], stderr: IO[bytes]) -> subprocess.Popen[bytes]:
    """Starts `probe.py` on the request in its folder, in a process that has nothing of this project."""
    # -I -S: no environment variables, no current folder, no .pth files, so that an editable install does not apply.
    command = [sys.executable, "-I", "-S", str(PROBE), str(folder / "request.json")]
    # TF_USE_LEGACY_KERAS and the like are this project's, not a model server's.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    return subprocess.Popen(
        # The probe ends when this pipe does: when this process was killed, too.
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    )


def _site_packages() -> str:
    spec = find_spec("tensorflow")
    assert spec is not None and spec.origin is not None
    return str(Path(spec.origin).parents[1])


def _peak_memory_mb(pid: int) -> float:
    """The most that a process ever had in memory, as the kernel counts it."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:  # it has just ended
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


def _death(status: int, stderr: Path) -> str:
    if status < 0:
        return f"signal {signal.Signals(-status).name}"
    lines = [line.strip() for line in stderr.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else f"exit status {status}"


def _compare(found: dict[str, Any], expected: np.ndarray, classes: Sequence[str]) -> list[str]:
    if found["load_error"]:
        return [f"cannot be loaded without this project's code ({found['load_error']})"]
    reasons = []
    for name in SIGNATURES:
        reason = _compare_signature(found["predictions"].get(name), expected, classes)
        if reason:
            reasons.append(f"signature {name} {reason}")
    if not reasons:
        thresholds = {tuple(row) for name in SIGNATURES for row in found["predictions"][name]["outputs"]["thresholds"]}
        if len(thresholds) > 1:  # the evaluation asked one signature for them
            reasons.append(f"its signatures decide by different thresholds ({' and '.join(map(str, sorted(thresholds)))})")
    return reasons


def _compare_signature(predicted: dict[str, Any] | None, expected: np.ndarray, classes: Sequence[str]) -> str | None:
    if predicted is None:
        return "is missing"
    if "error" in predicted:
        return f"fails ({predicted['error']})"
    outputs = predicted["outputs"]
    missing = [key for key in OUTPUTS if key not in outputs]
    if missing:
        return f"answers without {' and '.join(missing)}"
    if outputs["classes"] != [list(classes)] * len(expected):
        said = outputs["classes"][0] if outputs["classes"] and isinstance(outputs["classes"][0], list) else outputs["classes"]
        return f"names the classes {', '.join(map(str, said)) or 'not at all'}; expected {', '.join(classes)} for every clip"
    probabilities = np.array(outputs["probabilities"], np.float64)
    if probabilities.shape != expected.shape:
        return f"answers with probabilities of shape {list(probabilities.shape)}; expected {list(expected.shape)}"
    broken = (~np.isfinite(probabilities)).any(axis=1).sum()
    if broken:
        return f"answers with NaN or infinity for {broken} of {len(expected)} clips"
    if probabilities.min() < 0 or np.abs(probabilities.sum(1) - 1).max() > 1e-3:
        return "answers with invalid probabilities (negative, or not adding up to 1)"
    difference = np.abs(probabilities - expected).max()
    # Written so that an expected NaN, which compares as False, is a difference too.
    if not difference <= TOLERANCE:
        return f"differs from what the pipeline computed by {difference:.2g}, more than {TOLERANCE:g}"
    return _compare_other_outputs(outputs, len(expected)) or _compare_labels(outputs, classes)


def _compare_other_outputs(outputs: dict[str, Any], clips: int) -> str | None:
    errors = [error for error in outputs["error"] if error]
    if errors:
        return f"answers with an error for {len(errors)} of {clips} clips ({errors[0]})"
    if len(outputs["error"]) != clips:
        return "answers without an error for each clip"
    speech, duration_s = (np.array(outputs[name], np.float64) for name in ("speech", "duration_s"))
    # Written so that NaN, which compares as False, is refused.
    if speech.shape != (clips,) or not (speech.min() >= 0 and speech.max() <= 1):
        return "answers with a share of speech that is not one number from 0 to 1 for each clip"
    if duration_s.shape != (clips,) or not (duration_s.min() > 0 and duration_s.max() < np.inf):
        return "answers with a duration that is not one length of time for each clip"
    return None


def _compare_labels(outputs: dict[str, Any], classes: Sequence[str]) -> str | None:
    """Whether the label is what the thresholds make of the probabilities: all that was measured hangs on these alone."""
    probabilities, thresholds = (np.array(outputs[name], np.float64) for name in ("probabilities", "thresholds"))
    if thresholds.shape != probabilities.shape or not (thresholds > 0).all():
        return "answers with decision thresholds that are not one positive number for each clip and class"
    if np.shape(outputs["label"]) != (len(probabilities),):
        return "answers without a label for each clip"
    scores = over_thresholds(probabilities, thresholds)
    for label, speech, row in zip(outputs["label"], outputs["speech"], scores, strict=True):
        if not speech and label == "":
            continue
        if not speech or label not in classes or row[list(classes).index(label)] < row.max() * (1 - TOLERANCE):
            wanted = classes[row.argmax()] if speech else "no label, as there is no speech"
            return f"answers with the label {label or '(none)'} where probabilities and decision thresholds say {wanted}"
    return None


def _difference(found: dict[str, Any], expected: np.ndarray) -> float | None:
    probabilities = found["predictions"].get("serving_default", {}).get("outputs", {}).get("probabilities")
    if probabilities is None or np.shape(probabilities) != expected.shape:
        return None
    difference = float(np.abs(np.array(probabilities) - expected).max())
    return difference if np.isfinite(difference) else None
