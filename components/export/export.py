# SPDX-License-Identifier: Apache-2.0
"""Exporting a model: the file is written only where its own runtime gives the served model's answers with it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from beam_jobs.audio import AudioError, read_audio, resample
from beam_jobs.clip_store import ClipsReference, stream_shard
from beam_jobs.dataset import read_dataset_info
from beam_jobs.errors import UserError
from beam_jobs.examples import decode_clip
from beam_jobs.files import write_atomically
from beam_jobs.mixing import Samples
from components.decision_rule import THRESHOLDS, over_thresholds, thresholds_of
from components.export.convert import FORMATS, OUTPUTS, Run, check_packages

TOLERANCE = 1e-4
MAX_RECORDINGS = 16
LONG_S = 30
"""Of the recordings behind each other: so many windows that they are heard in several turns."""


@dataclass(frozen=True, slots=True)
class Recording:
    """Something to compare answers for: float32 samples at the model's rate."""

    name: str
    samples: Samples


@dataclass(frozen=True, slots=True)
class Exported:
    """A file that was written.

    Attributes:
        path: where it is.
        num_bytes: its length.
        classes: names, in the order of `probabilities`.
        sample_rate_hz: of the waveforms that it takes.
        recordings: for how many it was compared.
        difference: the greatest between its answers and the served model's.
    """

    path: Path
    num_bytes: int
    classes: tuple[str, ...]
    sample_rate_hz: int
    recordings: int
    difference: float


def export_model(folder: Path, target: str, output: Path, compared: Sequence[str]) -> Exported:
    """Writes a served model as one file for another runtime.

    Args:
        folder: a SavedModel, as the Trainer exports it.
        target: a key of `FORMATS`.
        output: the file.
        compared: recordings for which the answers are compared, or folders of clips (`dataset_info.json`).

    Raises:
        UserError: what writes or runs the format is not installed, the model is older than its portable function, the network
            cannot be converted, none of the recordings can be read, or the answers differ. Then `output` is as it was.
    """
    check_packages(target)
    served = _load(folder)
    rate_hz, classes, thresholds = _facts(served)
    recordings = with_hard_ones(_read(compared, rate_hz), rate_hz)
    _, write, run = FORMATS[target]
    facts = {"classes": classes, "thresholds": thresholds.tolist(), "sample_rate_hz": rate_hz, "model": folder.name}
    content = write(served, facts)
    difference = _compare(served, _opened(run, content, target), recordings, target)
    try:
        write_atomically(str(output), content)
    except OSError as error:
        raise UserError(f"{output}: cannot be written ({error.strerror}); give another --output") from None
    return Exported(output, len(content), classes, rate_hz, len(recordings), difference)


def _opened(run: Callable[[bytes], Run], content: bytes, target: str) -> Run:
    try:
        return run(content)
    except Exception as error:  # each runtime has its own
        raise UserError(
            f"the {target} file cannot be opened ({' '.join(str(error).split())[:300]}); nothing was written"
        ) from None


def _load(folder: Path) -> Any:
    try:
        served = tf.saved_model.load(str(folder))
    except (OSError, tf.errors.OpError) as error:
        raise UserError(f"{folder}: the model cannot be loaded ({str(error).splitlines()[0]})") from None
    if not hasattr(served, "portable") or set(served.portable.concrete_functions[0].structured_outputs) != set(OUTPUTS):
        raise UserError(f"{folder}: this model is older than `export`; train and push it again")
    return served


def _facts(served: Any) -> tuple[int, tuple[str, ...], np.ndarray]:
    """The sample rate of its waveforms in Hz, the names of its classes and their decision thresholds."""
    samples = 4000
    answer = served.signatures["waveform"](tf.zeros([1, samples]))
    classes = tuple(name.decode() for name in answer["classes"].numpy()[0])
    return round(samples / float(answer["duration_s"][0])), classes, thresholds_of(served.signatures, len(classes))


def _read(compared: Sequence[str], rate_hz: int) -> list[Recording]:
    found: list[Recording] = []
    for path in compared:
        for recording in _read_clips(path, rate_hz) if Path(path).is_dir() else _read_recording(path, rate_hz):
            if len(found) < MAX_RECORDINGS:
                found.append(recording)
    if not found:
        raise UserError("there are no recordings to compare answers for; name some with --check")
    return found


def _read_recording(path: str, rate_hz: int) -> Iterator[Recording]:
    try:
        yield Recording(path, resample(*read_audio(path), rate_hz))
    except AudioError as error:
        raise UserError(f"{path}: {error}; give another recording to --check") from None


def _read_clips(folder: str, rate_hz: int) -> Iterator[Recording]:
    info = read_dataset_info(folder)
    reference = ClipsReference(dataset_uri=folder, fingerprint="", shards=[])
    for shard in info.shards:
        for clip in map(decode_clip, stream_shard(reference, shard, "give another dataset to --check")):
            samples = clip.pcm16.astype(np.float32) / np.float32(32768)
            yield Recording(clip.id, resample(samples, clip.sample_rate_hz, rate_hz))


def with_hard_ones(recordings: Sequence[Recording], rate_hz: int) -> list[Recording]:
    """The recordings, and what is made of them: one with a pause, a short one, a quiet one, a long one, and silence."""
    first = recordings[0].samples
    pause = np.zeros(2 * rate_hz, np.float32)
    voices = np.concatenate([recording.samples for recording in recordings])
    middle = len(first) // 2
    return [
        *recordings,
        Recording("with a pause", np.concatenate([pause, first, pause, first])),
        Recording("0.2 s", first[middle : middle + rate_hz // 5]),
        Recording("60 dB quieter", first / np.float32(1000)),
        Recording(f"{LONG_S} s", np.resize(voices, LONG_S * rate_hz).astype(np.float32)),
        Recording("silence", pause),
    ]


def _compare(served: Any, run: Run, recordings: Sequence[Recording], target: str) -> float:
    worst = 0.0
    for recording in recordings:
        answer = served.signatures["waveform"](tf.constant(recording.samples[np.newaxis]))
        expected: dict[str, Any] = {name: value.numpy()[0] for name, value in answer.items()}
        try:
            found = run(recording.samples)
        except Exception as error:  # each runtime has its own
            reason = " ".join(str(error).split())[:300]
            raise UserError(f"the {target} file cannot answer for {recording.name} ({reason}); nothing was written") from None
        for name in ("probabilities", "speech"):
            difference = float(np.max(np.abs(found[name] - expected[name])))
            # Written so that a NaN, which compares as False, is a difference too.
            if not difference <= TOLERANCE:
                raise UserError(
                    f"the {target} file differs from the served model: `{name}` of {recording.name} by {difference:.2g}, more "
                    f"than {TOLERANCE:g}; nothing was written"
                )
            worst = max(worst, difference)
        if (label := _label(found["label"], expected)) != (wanted := expected["label"].decode()):
            raise UserError(
                f"the {target} file calls {recording.name} {label or 'no speech'}, and the served model {wanted or 'no speech'}; "
                "nothing was written"
            )
    return worst


def _label(number: np.ndarray, expected: dict[str, Any]) -> str:
    """The class that a file names by its number; the served model's own where two are so close that rounding decides."""
    scores = np.sort(over_thresholds(expected["probabilities"], expected[THRESHOLDS]))
    if expected["speech"] > 0 and scores[-1] - scores[-2] <= TOLERANCE / expected[THRESHOLDS].min():
        return str(expected["label"].decode())
    return "" if number < 0 else str(expected["classes"][int(number)].decode())
