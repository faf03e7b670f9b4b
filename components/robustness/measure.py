# SPDX-License-Identifier: Apache-2.0
"""Asks models about clips as they are and as degradations leave them."""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from beam_jobs.clip_store import ClipsReference, ClipStore
from beam_jobs.console import progress
from beam_jobs.errors import UserError
from beam_jobs.examples import Clip, decode_clip, encode_clip
from components.decision_rule import thresholds_of
from components.evaluator.predictions import BASELINE, CANDIDATE
from components.evaluator.signatures import PROBABILITIES, SIGNATURE, check_signature
from components.robustness.config import RobustnessConfig
from components.robustness.degradations import DegradationError, degradations, generator
from components.robustness.scores import Answers, Condition, RobustnessScores

SPLIT = "test"
SPEECH = "speech"
CANDIDATES_PER_CLIP = 20
"""Clips of a label among which each of its clips is chosen, in a test split of any size."""
FULL_SCALE = np.float32(32768)


def measure(
    reference: ClipsReference, models: Mapping[str, str], config: RobustnessConfig, classes: Sequence[str], seed: int
) -> RobustnessScores:
    """What the models say about the chosen clips, clean and degraded.

    The clips are all in memory together, 2 bytes a sample.

    Args:
        reference: of the clips; some of its split `test` are used.
        models: folders of SavedModels by name, `candidate` and, where there is one, `baseline`.
        config: what is measured.
        classes: names by label.
        seed: of all chance.

    Raises:
        UserError: the test split is empty, or a model does not answer as a model of this pipeline does.
    """
    signatures = {name: check_signature(folder, len(classes)) for name, folder in models.items()}
    serves = {name: found[SIGNATURE] for name, found in signatures.items()}
    clips = chosen_clips(reference, config.num_clips, seed)
    conditions = [Condition()]
    conditions += [
        Condition(degradation=name, strength=strength) for name in config.degradations for strength in config.strengths
    ]
    answers = {(number, name): Answers(probabilities=[], speech=[]) for number in range(len(conditions)) for name in models}
    with progress("degrading test clips", len(clips), "clips") as advance:
        for clip in clips:
            records = _records(clip, clips, conditions, seed)
            for name, serve in serves.items():
                probabilities, speech = _ask(serve, list(records.values()))
                for number, row, share in zip(records, probabilities, speech, strict=True):
                    answers[number, name].probabilities.append(row)
                    answers[number, name].speech.append(share)
            advance()
    for number, condition in enumerate(conditions):
        if not condition.not_measured:
            condition.candidate, condition.baseline = answers[number, CANDIDATE], answers.get((number, BASELINE))
    return RobustnessScores(
        ids=[clip.id for clip in clips],
        labels=[clip.label for clip in clips],
        speaker_ids=[list(clip.speaker_ids) for clip in clips],
        conditions=conditions,
        thresholds={name: thresholds_of(found, len(classes)).tolist() for name, found in signatures.items()},
    )


def chosen_clips(reference: ClipsReference, number: int, seed: int) -> list[Clip]:
    """So many clips of the test split, or all, sorted by id: labels take turns, and each speaker is heard about as often.

    They are chosen by the index; of the audio no more is read than theirs.

    Raises:
        UserError: there are none.
    """
    with ClipStore(reference) as store:
        heads = [entry.clip for entry in store.entries(SPLIT)]
        if not heads:
            raise UserError(f"the {SPLIT} split holds no clips; set clips.num_clips.{SPLIT} to at least 1")
        records = store.records(SPLIT, {clip.id for clip in choose(heads, number, seed)})
    return sorted(map(decode_clip, records.values()), key=lambda clip: clip.id)


def choose(clips: Sequence[Clip], number: int, seed: int) -> list[Clip]:
    """See `chosen_clips`: of each label in turn the clip whose speakers are in the fewest of those chosen so far.

    How many speakers it has is drawn first, or clips of one speaker would be ahead.
    """
    shuffled = sorted(clips, key=lambda clip: hashlib.sha256(f"{seed}/{clip.id}".encode()).digest())
    labels = sorted({clip.label for clip in clips})
    left = {label: [clip for clip in shuffled if clip.label == label][: CANDIDATES_PER_CLIP * number] for label in labels}
    drawn = {label: [_num_speakers(clip) for clip in left[label]] for label in labels}
    found: list[Clip] = []
    heard: Counter[str] = Counter()
    while len(found) < number and any(left.values()):
        for label in (label for label in labels if left[label]):
            if len(found) == number:
                break
            num_speakers = drawn[label].pop(0)
            alike = [position for position, clip in enumerate(left[label]) if _num_speakers(clip) == num_speakers]
            clip = left[label].pop(min(alike, key=lambda position: _heard(left[label][position], heard)))
            heard.update(set(clip.speaker_ids))
            found.append(clip)
    return found


def _num_speakers(clip: Clip) -> int:
    return len(set(clip.speaker_ids))


def _heard(clip: Clip, heard: Counter[str]) -> list[int]:
    return sorted((heard[speaker] for speaker in set(clip.speaker_ids)), reverse=True)


def _records(clip: Clip, clips: Sequence[Clip], conditions: Sequence[Condition], seed: int) -> dict[int, bytes]:
    """The clip's tf.Examples by the number of the condition; one that cannot be made says why from then on."""
    samples = _samples(clip)
    voices = [other for other in clips if not set(other.speaker_ids) & set(clip.speaker_ids)]
    ways = degradations(_Voices(voices))
    found = {}
    for number, condition in enumerate(conditions):
        if condition.degradation is None or condition.strength is None:
            found[number] = encode_clip(clip)
        elif not condition.not_measured:
            rng = generator(seed, condition.degradation, condition.strength, clip.id)
            try:
                degraded = ways[condition.degradation](samples, clip.sample_rate_hz, condition.strength, rng)
            except DegradationError as error:
                condition.not_measured = str(error)
                continue
            pcm16 = np.rint(np.clip(degraded * FULL_SCALE, -FULL_SCALE, FULL_SCALE - 1)).astype("<i2")
            found[number] = encode_clip(dataclasses.replace(clip, pcm16=pcm16))
    return found


class _Voices(Sequence[np.ndarray]):
    """The samples of clips, each made when it is asked for."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        self._clips = clips

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, number: Any) -> Any:
        return _samples(self._clips[number])


def _samples(clip: Clip) -> np.ndarray:
    return clip.pcm16.astype(np.float32) / FULL_SCALE


def _ask(serve: Any, records: Sequence[bytes]) -> tuple[list[list[float]], list[float]]:
    (argument,) = serve.structured_input_signature[1]
    found = serve(**{argument: tf.constant(records)})
    # Models of older versions say nothing of speech.
    speech = found[SPEECH].numpy().reshape(-1).tolist() if SPEECH in found else [1.0] * len(records)
    return found[PROBABILITIES].numpy().tolist(), speech
