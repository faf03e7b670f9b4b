"""No network: logistic regression on the means and deviations of MFCCs and the quantiles of the pitch; prints JSON.

The bar that a network must clear to earn its place. Features by librosa, on the same clips as the network.
"""

import argparse
import json
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import librosa
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from beam_jobs.examples import decode_clip, read_records
from benchmarks.scores import length_name, scores_of

FRAME_LENGTH, HOP_LENGTH = 2048, 1024
SPEECH_RANGE_DB = 40.0


def features(samples: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """float32 [samples] -> float [45]: 20 MFCCs' means and deviations and five quantiles of F0 over the frames of speech."""
    power = librosa.feature.rms(y=samples, frame_length=FRAME_LENGTH, hop_length=HOP_LENGTH)[0]
    speech = librosa.amplitude_to_db(power, ref=np.max) > -SPEECH_RANGE_DB
    mfcc = librosa.feature.mfcc(y=samples, sr=sample_rate_hz, n_mfcc=20, n_fft=FRAME_LENGTH, hop_length=HOP_LENGTH)[:, speech]
    pitch = librosa.yin(samples, fmin=65, fmax=400, sr=sample_rate_hz, frame_length=FRAME_LENGTH, hop_length=HOP_LENGTH)[speech]
    return np.concatenate([mfcc.mean(axis=1), mfcc.std(axis=1), np.quantile(pitch, [0.1, 0.3, 0.5, 0.7, 0.9])])


def _features_of(shard: Path) -> tuple[list[np.ndarray], list[int]]:
    with shard.open("rb") as file:
        clips = [decode_clip(record) for record in read_records(file)]
    return [features(clip.pcm16 / np.float32(32768), clip.sample_rate_hz) for clip in clips], [clip.label for clip in clips]


def table(folder: Path, pool: ProcessPoolExecutor) -> tuple[np.ndarray, np.ndarray]:
    """Features [clips, 45] and labels [clips] of a split's folder."""
    parts: Iterator[tuple[list[np.ndarray], list[int]]] = pool.map(_features_of, sorted(folder.iterdir()))
    rows, labels = zip(*parts, strict=True)
    return np.concatenate(rows), np.concatenate(labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=Path, required=True, help="dataset folder with train")
    parser.add_argument("--test", type=Path, action="append", default=[], help="dataset folder with test")
    parser.add_argument("--seed", type=int, help="not used: nothing here is drawn")
    args = parser.parse_args()
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        started = time.monotonic()
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
        model.fit(*table(args.train / "train", pool))
        figures: dict[str, object] = {"parameters": 46, "minutes": (time.monotonic() - started) / 60}
        for folder in args.test:
            rows, labels = table(folder / "test", pool)
            figures[length_name(folder)] = scores_of(labels, model.predict_proba(rows))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
