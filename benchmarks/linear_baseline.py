# SPDX-License-Identifier: Apache-2.0
"""No network: logistic regression on the means and deviations of MFCCs and the quantiles of the pitch.

The bar that a network must clear to earn its place. Features by librosa, on the same recordings as the network.
"""

from collections.abc import Collection, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import librosa
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.evaluation_sets import RATE_HZ, RecordingSet
from benchmarks.utterance_scores import Answers, BySet, unheard

FRAME_LENGTH, HOP_LENGTH = 1024, 512
SPEECH_RANGE_DB = 40.0
PARAMETERS = 46


def features(samples: np.ndarray, sample_rate_hz: int = RATE_HZ) -> np.ndarray:
    """float32 [samples] -> float [45]: 20 MFCCs' means and deviations and five quantiles of F0 over the frames of speech."""
    power = librosa.feature.rms(y=samples, frame_length=FRAME_LENGTH, hop_length=HOP_LENGTH)[0]
    speech = librosa.amplitude_to_db(power, ref=np.max) > -SPEECH_RANGE_DB
    mfcc = librosa.feature.mfcc(y=samples, sr=sample_rate_hz, n_mfcc=20, n_fft=FRAME_LENGTH, hop_length=HOP_LENGTH)[:, speech]
    pitch = librosa.yin(samples, fmin=65, fmax=400, sr=sample_rate_hz, frame_length=FRAME_LENGTH, hop_length=HOP_LENGTH)[speech]
    return np.concatenate([mfcc.mean(axis=1), mfcc.std(axis=1), np.quantile(pitch, [0.1, 0.3, 0.5, 0.7, 0.9])])


def write_features(sets: Sequence[RecordingSet], processes: int = 2) -> None:
    """The features of each set, beside it; those that are there stay."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for one in sets:
            if not one.features.exists():
                rows = list(pool.map(features, (recording.samples for recording in one.read()), chunksize=8))
                np.save(one.features, np.array(rows))


def linear_answers(training: RecordingSet, heard: Collection[str], sets: Sequence[RecordingSet]) -> BySet:
    """Fits the model to the recordings of `training` in which the speakers `heard` speak, and asks it about all others'.

    The features of all sets must have been written.
    """
    recordings, rows = training.read(), np.load(training.features)
    inside = [set(recording.speakers) <= set(heard) for recording in recordings]
    labels = np.array([recording.label for recording in recordings])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000)).fit(rows[inside], labels[inside])
    found: BySet = {}
    for one in sets:
        recordings, answers = one.read(), Answers()
        chosen = unheard(recordings, heard)
        for number, row in zip(chosen, model.predict_proba(np.load(one.features)[chosen]), strict=True):
            answers.add(recordings[number], str(model.classes_[row.argmax()]), round(float(row.max()), 5))
        found[one.name] = answers
    return found
