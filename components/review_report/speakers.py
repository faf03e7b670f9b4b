# SPDX-License-Identifier: Apache-2.0
"""Who the mistakes are made on, and whose label the model doubts: from single-speaker clips, in which nobody else is heard."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from beam_jobs.labels import MIXED
from components.evaluator.predictions import Predictions

SURE, SURE_OF_ONE = 0.9, 0.99
"""Mean probability of another class from which a speaker's clips speak against the label; of a single one more is asked, for one
clip may be an accident."""
MIN_RECALL = 0.8
"""On everyone else's single-speaker clips of that label: a model that is often wrong about a label is no witness against it."""


@dataclass(frozen=True, slots=True)
class SpeakerRow:
    """What the model makes of a speaker.

    `alone` counts clips with nobody else in them, `shared` the others. `accuracy` and `mean_probability` (of the label) are on
    `alone`; None where there is none. A mistake in a shared clip may be anyone's in it.
    """

    speaker: str
    label: str
    alone: int
    alone_wrong: int
    accuracy: float | None
    mean_probability: float | None
    baseline_wrong: int | None
    shared: int
    shared_wrong: int


@dataclass(frozen=True, slots=True)
class Suspect:
    """A speaker all of whose single-speaker clips the model takes for `said`; `positions` are theirs, the surest first.

    `mean_probability` is that of `said` on them.
    """

    speaker: str
    label: str
    said: str
    positions: list[int]
    mean_probability: float


def speaker_table(predictions: Predictions, classes: Sequence[str]) -> list[SpeakerRow]:
    """Every speaker of the test clips: first by mistakes on clips of their own, then by mistakes on shared ones."""
    wrong = predictions.predicted() != predictions.labels
    before = predictions.baseline_predicted()
    baseline_wrong = None if before is None else before != predictions.labels
    of_label = _of_label(predictions)
    rows = []
    for speaker, (alone, shared) in _clips_by_speaker(predictions).items():
        rows.append(
            SpeakerRow(
                speaker=speaker,
                label=_label(predictions, classes, alone + shared),
                alone=len(alone),
                alone_wrong=int(wrong[alone].sum()),
                accuracy=1 - float(wrong[alone].mean()) if alone else None,
                mean_probability=_finite(of_label[alone].mean()) if alone else None,
                baseline_wrong=None if baseline_wrong is None else int(baseline_wrong[alone].sum()),
                shared=len(shared),
                shared_wrong=int(wrong[shared].sum()),
            )
        )
    return sorted(rows, key=lambda row: (-row.alone_wrong, -row.shared_wrong, row.speaker))


def suspects(predictions: Predictions, classes: Sequence[str]) -> list[Suspect]:
    """Speakers whose annotation is to be checked, the most surely contradicted first.

    The model takes each of their single-speaker clips for one and the same other class, with a mean probability of at least
    `SURE`, while it is right about `MIN_RECALL` of the other speakers' single-speaker clips with that label.
    """
    said = predictions.predicted()
    right = said == predictions.labels
    alone_of = {speaker: alone for speaker, (alone, _) in _clips_by_speaker(predictions).items()}
    single = np.zeros(len(predictions.ids), bool)
    for alone in alone_of.values():
        single[alone] = True
    found = []
    for speaker, alone in alone_of.items():
        if len({(int(predictions.labels[k]), int(said[k])) for k in alone}) != 1:
            continue
        label, other = int(predictions.labels[alone[0]]), int(said[alone[0]])
        others = single & (predictions.labels == label)
        others[alone] = False
        if other in (label, -1) or not others.any() or right[others].mean() < MIN_RECALL:
            continue
        against = predictions.candidate[alone, other]
        if against.mean() >= (SURE if len(alone) > 1 else SURE_OF_ONE):
            in_order = [alone[k] for k in np.argsort(-against, kind="stable")]
            found.append(Suspect(speaker, classes[label], classes[other], in_order, float(against.mean())))
    return sorted(found, key=lambda suspect: (-suspect.mean_probability, suspect.speaker))


def _clips_by_speaker(predictions: Predictions) -> dict[str, tuple[list[int], list[int]]]:
    """Positions of each speaker's single-speaker clips, and of those shared with others."""
    found: dict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for position, speakers in enumerate(predictions.speaker_ids):
        names = set(speakers)
        for name in names:
            found[name][len(names) > 1].append(position)
    return dict(sorted(found.items()))


def _of_label(predictions: Predictions) -> np.ndarray:
    """Probability of each clip's label, float32 [clips]."""
    of_label: np.ndarray = predictions.candidate[np.arange(len(predictions.ids)), predictions.labels]
    return of_label


def _label(predictions: Predictions, classes: Sequence[str], positions: Sequence[int]) -> str:
    """The label of the clips with no other label in them; in `mixed` clips alone it is not known."""
    names = (classes[predictions.labels[position]] for position in positions)
    return next((name for name in names if name != MIXED), MIXED)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
