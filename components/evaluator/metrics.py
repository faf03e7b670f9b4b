# SPDX-License-Identifier: Apache-2.0
"""The gate's metrics for TFMA. TFMA's own AUC and calibration are histograms; these are exact."""

from array import array
from collections.abc import Iterable
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import metric_util

from components.evaluator.clip_metrics import estimates

CLIPS = "clips"
Accumulator = tuple[array, array]
"""Labels, and scores as float32, of the clips one after the other: single objects would take ten times the memory."""


class ClipMetrics(tfma.metrics.Metric):
    """Number of clips, accuracy, expected calibration error, and recall and AUC of each class, on all clips of a slice.

    Accuracy and recall are of what the model decides by its thresholds.

    The scores of a slice's clips are collected, which an exact AUC takes: 8 bytes a clip and 4 for each class.
    """

    def __init__(self, num_classes: int, thresholds: list[float], name: str = "clip_metrics") -> None:
        computations = metric_util.merge_per_key_computations(_computations)
        super().__init__(computations, name=name, num_classes=num_classes, thresholds=thresholds)


def _computations(
    name: str,
    num_classes: int,
    thresholds: list[float],
    eval_config: Any = None,
    model_name: str = "",
    output_name: str = "",
    **kwargs: Any,
) -> list[Any]:
    def key(metric: str, class_id: int | None = None) -> tfma.metrics.MetricKey:
        sub_key = None if class_id is None else tfma.metrics.SubKey(class_id=class_id)
        return tfma.metrics.MetricKey(metric, model_name=model_name, output_name=output_name, sub_key=sub_key)

    keys = [key(CLIPS), key("accuracy"), key("ece")]
    keys += [key(metric, number) for metric in ("auc", "recall") for number in range(num_classes)]
    return [tfma.metrics.MetricComputation(keys=keys, preprocessors=None, combiner=_Combiner(keys, eval_config, thresholds))]


class _Combiner(beam.CombineFn):
    """Collects labels and scores, and computes at the end."""

    def __init__(self, keys: list[Any], eval_config: Any, thresholds: list[float]) -> None:
        self._keys = keys
        self._eval_config = eval_config
        self._thresholds = np.array(thresholds)

    def create_accumulator(self) -> Accumulator:
        return array("q"), array("f")

    def add_input(self, accumulator: Accumulator, element: Any) -> Accumulator:
        key = self._keys[0]
        for label, scores, _ in tfma.metrics.to_label_prediction_example_weight(
            element, eval_config=self._eval_config, model_name=key.model_name, output_name=key.output_name, flatten=False
        ):
            accumulator[0].append(int(label.item()))
            accumulator[1].extend(scores.astype(np.float32).tolist())
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[Accumulator]) -> Accumulator:
        labels, scores = self.create_accumulator()
        for more_labels, more_scores in accumulators:
            labels.extend(more_labels)
            scores.extend(more_scores)
        return labels, scores

    def extract_output(self, accumulator: Accumulator) -> dict[Any, float]:
        labels = np.array(accumulator[0], np.int64)
        found = estimates(labels, np.array(accumulator[1], np.float32).reshape(len(labels), -1), self._thresholds)

        def value(key: Any) -> float:
            return float(len(labels)) if key.name == CLIPS else found[key.name, key.sub_key and key.sub_key.class_id]

        return {key: value(key) for key in self._keys}
