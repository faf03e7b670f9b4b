# SPDX-License-Identifier: Apache-2.0
"""How far requests are from the reference, and whether chance would make it so.

Distances are TFDV's: Jensen-Shannon divergence of numbers, L-infinity of labels; of embeddings the energy distance. p-values
are SciPy's: Kolmogorov-Smirnov, chi-squared, and a permutation test of the energy distance, which sees any difference of two
distributions in any number of dimensions (Szekely and Rizzo, "Energy statistics", 2013).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import tensorflow_data_validation as tfdv
from pydantic import BaseModel
from scipy import stats
from scipy.spatial.distance import cdist
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from components.watch.config import DriftThresholds, WatchConfig
from components.watch.measures import LABEL, common_names, values_of
from components.watch.records import Record

EMBEDDING = "embedding"
EMBEDDINGS = 300
"""Of each side, whose distances are computed: 9,999 permutations of 600 take a second."""
PERMUTATIONS = 9999
NEVER = 2.0
"""A threshold above every distance: TFDV computes it all the same."""


class Drift(BaseModel):
    """One measure: its distance from the reference, what it may be (None is only shown), and the chance of it.

    `p` is corrected for the number of measures.
    """

    name: str
    kind: str
    distance: float
    threshold: float | None
    p: float
    alarm: bool


def measure_drift(
    requests: Sequence[Record],
    statistics: statistics_pb2.DatasetFeatureStatisticsList,
    reference: Sequence[Record],
    config: WatchConfig,
) -> list[Drift]:
    """Each measure, the farthest beyond its threshold first.

    Args:
        requests: a sample of them, with speech.
        statistics: of them all, by TFDV.
        reference: clips of voices that the network has not heard, with speech.
        config: what is an alarm.
    """
    names = common_names(requests, reference)
    distances = tfdv_distances(statistics, reference, names)
    found = [(name, kind, value, _p_value(name, requests, reference)) for name, (kind, value) in distances.items()]
    if len(requests[0].embedding) and requests[0].embedding.shape == reference[0].embedding.shape:
        found.append((EMBEDDING, "energy", *energy_test(requests, reference)))
    judged = [item for item in found if threshold_of(item[0], config.drift) is not None]
    corrected = dict(zip((item[0] for item in judged), holm([item[3] for item in judged]), strict=True))
    drifts = []
    for name, kind, value, p in found:
        threshold, chance = threshold_of(name, config.drift), corrected.get(name, p)
        alarm = threshold is not None and value > threshold and chance < config.significance
        drifts.append(Drift(name=name, kind=kind, distance=value, threshold=threshold, p=chance, alarm=alarm))
    return sorted(drifts, key=lambda drift: -drift.distance / (drift.threshold or NEVER))


def threshold_of(name: str, thresholds: DriftThresholds) -> float | None:
    """That of a measure; all groups of mel bands have the same."""
    value: float | None = getattr(thresholds, name.split()[0])
    return value


def statistics_of(records: Sequence[Record]) -> statistics_pb2.DatasetFeatureStatisticsList:
    """What the Beam job makes, of records in memory."""
    table = pd.DataFrame([values_of(record) for record in records])
    return tfdv.generate_statistics_from_dataframe(table, tfdv.StatsOptions(num_histogram_buckets=20))


def tfdv_distances(
    statistics: statistics_pb2.DatasetFeatureStatisticsList, reference: Sequence[Record], names: Sequence[str]
) -> dict[str, tuple[str, float]]:
    """The kind and size of TFDV's distance for each measure."""
    before = statistics_of(reference)
    schema = schema_pb2.Schema()
    for name in names:
        feature = schema.feature.add(name=name, type=schema_pb2.BYTES if name == LABEL else schema_pb2.FLOAT)
        norm = feature.drift_comparator.infinity_norm if name == LABEL else feature.drift_comparator.jensen_shannon_divergence
        norm.threshold = NEVER
    anomalies = tfdv.validate_statistics(statistics, schema, previous_statistics=before)
    kinds = {"L_INFTY": "L-infinity", "JENSEN_SHANNON_DIVERGENCE": "Jensen-Shannon"}
    found = {}
    for info in anomalies.drift_skew_info:
        for measured in info.drift_measurements:
            kind = kinds[type(measured).Type.Name(measured.type)]
            found["".join(info.path.step)] = (kind, float(measured.value))
    return {name: found[name] for name in names if name in found}


def _p_value(name: str, requests: Sequence[Record], reference: Sequence[Record]) -> float:
    here, there = ([values_of(record)[name] for record in records] for records in (requests, reference))
    if name != LABEL:
        return float(stats.ks_2samp(here, there).pvalue)
    labels = sorted(set(here) | set(there))
    table = np.array([[values.count(label) for label in labels] for values in (here, there)])
    return float(stats.chi2_contingency(table).pvalue) if len(labels) > 1 else 1.0


def energy_test(requests: Sequence[Record], reference: Sequence[Record]) -> tuple[float, float]:
    """The energy coefficient of two samples of embeddings, 0 (the same) to 1, and its p-value by permutation."""
    here, there = (np.array([record.embedding for record in spread(records)], np.float64) for records in (requests, reference))
    scale = there.std(axis=0) + 1e-6
    both = np.concatenate([here, there]) / scale
    apart = cdist(both, both)

    def coefficient(first: np.ndarray, second: np.ndarray, axis: int = -1) -> np.ndarray:
        chosen = np.zeros((*first.shape[:-1], len(both)))
        np.put_along_axis(chosen, first.astype(int), 1.0, axis=-1)
        rest, (n, m) = 1 - chosen, (first.shape[-1], second.shape[-1])
        between = ((chosen @ apart) * rest).sum(axis=-1) / (n * m)
        within = ((chosen @ apart) * chosen).sum(axis=-1) / n**2 + ((rest @ apart) * rest).sum(axis=-1) / m**2
        return (2 * between - within) / (2 * between)

    numbers = np.arange(len(both))
    found = stats.permutation_test(
        (numbers[: len(here)], numbers[len(here) :]),
        coefficient,
        n_resamples=PERMUTATIONS,
        batch=500,
        alternative="greater",
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    return float(found.statistic), float(found.pvalue)


def spread(records: Sequence[Record], number: int = EMBEDDINGS) -> list[Record]:
    """So many of them, or all, from the first to the last."""
    places = np.linspace(0, len(records) - 1, min(number, len(records))).astype(int)
    return [records[place] for place in places]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction: the chance that any of so many would be below, had nothing changed (Holm, 1979)."""
    order = np.argsort(p_values)
    corrected, worst = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        worst = max(worst, min(1.0, p_values[place] * (len(p_values) - rank)))
        corrected[place] = worst
    return corrected
