# SPDX-License-Identifier: Apache-2.0
"""What an exported model answers about recordings, and what the answers are worth.

    python -m benchmarks.utterance_scores --model DIR --sets SET.npz … [--heard FILE] --output answers.json

asks a SavedModel, in a process that has nothing of this project's network: what users get is what is scored. Recordings in which
one of the speakers of FILE, those whom the model has heard, speaks are left out.
"""

import argparse
import io
import json
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import soundfile

from benchmarks.evaluation_sets import RATE_HZ, Recording, RecordingSet
from benchmarks.measure import last_line, python
from benchmarks.scores import calibration_error
from components.gate.intervals import SpeakerDraws

BATCH = 8
DRAWS = 2000
Z95 = 1.959964


@dataclass
class Answers:
    """Answers about one set, a row for each recording. `probability` is the answer's; None where the model gives none."""

    labels: list[str] = field(default_factory=list)
    speakers: list[list[str]] = field(default_factory=list)
    answers: list[str | None] = field(default_factory=list)
    """None: no speech."""
    probability: list[float | None] = field(default_factory=list)

    def add(self, recording: Recording, answer: str | None, probability: float | None) -> None:
        self.labels.append(recording.label)
        self.speakers.append(list(recording.speakers))
        self.answers.append(answer)
        self.probability.append(probability)

    @classmethod
    def pooled(cls, parts: Iterable["Answers"]) -> "Answers":
        """All of them one after another."""
        whole = cls()
        for part in parts:
            whole.labels += part.labels
            whole.speakers += part.speakers
            whole.answers += part.answers
            whole.probability += part.probability
        return whole


BySet = dict[str, Answers]


def scores_of_answers(answers: Answers) -> dict[str, Any]:
    """Accuracy with its interval of 95 %, recall by label, ECE (None without probabilities) and how many were "no speech",
    which is counted as wrong.

    The interval is over speakers. Where each has as many recordings as any other, and is alone in them, it is Wilson's with as
    many trials as speakers: several seeds are no more people. Elsewhere it is the gate's bootstrap over
    speakers, but where all answers are right, or none.
    """
    labels = np.array(answers.labels)
    right = np.array([answer == label for answer, label in zip(answers.answers, answers.labels, strict=True)], float)
    low, high = _interval(right, answers.speakers)
    probability = [value for value in answers.probability if value is not None]
    return {
        "accuracy": float(right.mean()),
        "low": low,
        "high": high,
        "recall": {str(label): float(right[labels == label].mean()) for label in sorted(set(answers.labels))},
        "ece": calibration_error(np.array(probability), right) if len(probability) == len(right) else None,
        "no_speech": answers.answers.count(None),
        "recordings": len(right),
        "speakers": len({name for names in answers.speakers for name in names}),
    }


def _interval(right: np.ndarray, speakers: Sequence[Sequence[str]]) -> tuple[float, float]:
    counts = Counter(name for names in speakers for name in names)
    mean = float(right.mean())
    each_alike = all(len(names) == 1 for names in speakers) and len(set(counts.values())) == 1
    if each_alike or mean in (0.0, 1.0):  # draws of nothing but right answers have no spread
        return wilson(mean, len(counts))
    batches, factor = SpeakerDraws(speakers, DRAWS).weights(np.ones(len(right), bool))
    drawn = np.concatenate([weights @ right / weights.sum(axis=1) for weights in batches])
    low, high = mean + factor * (np.quantile(drawn, [0.025, 0.975]) - mean)
    return float(np.clip(low, 0, 1)), float(np.clip(high, 0, 1))


def wilson(share: float, trials: int) -> tuple[float, float]:
    """Wilson's interval of 95 % (1927) for a share of trials."""
    middle = share + Z95**2 / (2 * trials)
    half = Z95 * np.sqrt(share * (1 - share) / trials + Z95**2 / (4 * trials**2))
    scale = 1 + Z95**2 / trials
    return float((middle - half) / scale), float((middle + half) / scale)


def as_json(answers: BySet) -> dict[str, Any]:
    return {name: asdict(part) for name, part in answers.items()}


def from_json(data: dict[str, Any]) -> BySet:
    return {name: Answers(**part) for name, part in data.items()}


def answers_of(model: Path, sets: Sequence[RecordingSet], heard: Collection[str], log: Path) -> BySet:
    """Asks an exported model about the recordings in which nobody of `heard` speaks, in a process of its own."""
    with TemporaryDirectory() as name:
        names, output = Path(name) / "heard.json", Path(name) / "answers.json"
        names.write_text(json.dumps(sorted(heard)))
        asked = [str(one.path) for one in sets]
        command = python("benchmarks.utterance_scores", "--model", model, "--heard", names, "--output", output, "--sets", *asked)
        last_line(command, log)
        return from_json(json.loads(output.read_text()))


def unheard(recordings: Iterable[Recording], heard: Collection[str]) -> list[int]:
    """The numbers of the recordings in which none of these speakers speaks."""
    return [number for number, recording in enumerate(recordings) if not set(recording.speakers) & set(heard)]


def ask(model: Any, recordings: Sequence[Recording]) -> Answers:
    """Asks the signature `wav`, which takes any rate, about each recording."""
    import tensorflow as tf

    answers = Answers()
    for start in range(0, len(recordings), BATCH):
        batch = recordings[start : start + BATCH]
        found = model.signatures["wav"](wav=tf.constant([_wav(item.samples) for item in batch]))
        if "error" in found and (errors := [error for error in found["error"].numpy() if error]):
            raise RuntimeError(f"the model refuses a recording: {errors[0].decode()}")
        probabilities, classes = found["probabilities"].numpy(), found["classes"].numpy()
        speech = found["speech"].numpy().reshape(-1) if "speech" in found else np.ones(len(batch))
        for item, row, names, share in zip(batch, probabilities, classes, speech, strict=True):
            answer = names[row.argmax()].decode() if share > 0 and np.isfinite(row).all() else None
            answers.add(item, answer, round(float(np.nan_to_num(row.max())), 5))
    return answers


def _wav(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE_HZ, format="WAV", subtype="PCM_16")
    return file.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of a SavedModel")
    parser.add_argument("--sets", type=Path, nargs="+", required=True, help="files of recordings")
    parser.add_argument("--heard", type=Path, help="JSON list of speakers")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    import tensorflow as tf

    model = tf.saved_model.load(args.model)
    heard = json.loads(args.heard.read_text()) if args.heard else []
    found: BySet = {}
    for one in map(RecordingSet, args.sets):
        recordings = one.read()
        found[one.name] = ask(model, [recordings[number] for number in unheard(recordings, heard)])
    args.output.write_text(json.dumps(as_json(found)))


if __name__ == "__main__":
    main()
