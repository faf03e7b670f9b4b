# SPDX-License-Identifier: Apache-2.0
"""TFMA's configuration: what is computed of which models on which slices. The Gate decides, so it holds no thresholds."""

import json
from collections.abc import Mapping, Sequence

import numpy as np
from tensorflow_model_analysis.proto import config_pb2

from beam_jobs.examples import LABEL
from components.evaluator.predictions import BASELINE, CANDIDATE
from components.evaluator.signatures import PROBABILITIES, SIGNATURE
from components.evaluator.slices import FEATURES


def eval_config(classes: Sequence[str], thresholds: Mapping[str, np.ndarray]) -> config_pb2.EvalConfig:
    """TFMA's configuration: the gate's metrics of each model, overall and by slice.

    Args:
        classes: names by label.
        thresholds: by which each model decides, float [classes] by its name; with `baseline` where there is one.
    """
    model = {"signature_name": SIGNATURE, "label_key": LABEL, "prediction_key": PROBABILITIES}
    models = [config_pb2.ModelSpec(name=CANDIDATE, **model)]
    if BASELINE in thresholds:
        models.append(config_pb2.ModelSpec(name=BASELINE, is_baseline=True, **model))

    def metrics_of(model: str) -> config_pb2.MetricsSpec:
        settings = json.dumps({"num_classes": len(classes), "thresholds": thresholds[model].tolist()})
        metric = config_pb2.MetricConfig(class_name="ClipMetrics", module="components.evaluator.metrics", config=settings)
        return config_pb2.MetricsSpec(metrics=[metric], model_names=[model])

    return config_pb2.EvalConfig(
        model_specs=models,
        slicing_specs=[config_pb2.SlicingSpec(), *(config_pb2.SlicingSpec(feature_keys=[feature]) for feature in FEATURES)],
        metrics_specs=[metrics_of(spec.name) for spec in models],
    )
