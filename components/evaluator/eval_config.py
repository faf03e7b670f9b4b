"""TFMA's configuration: what is computed of which models on which slices. The Gate decides, so it holds no thresholds."""

import json
from collections.abc import Sequence

from tensorflow_model_analysis.proto import config_pb2

from beam_jobs.examples import LABEL
from components.evaluator.predictions import BASELINE, CANDIDATE
from components.evaluator.signatures import PROBABILITIES, SIGNATURE
from components.evaluator.slices import FEATURES


def eval_config(classes: Sequence[str], has_baseline: bool) -> config_pb2.EvalConfig:
    """TFMA's configuration: the gate's metrics of each model, overall and by slice."""
    model = {"signature_name": SIGNATURE, "label_key": LABEL, "prediction_key": PROBABILITIES}
    models = [config_pb2.ModelSpec(name=CANDIDATE, **model)]
    if has_baseline:
        models.append(config_pb2.ModelSpec(name=BASELINE, is_baseline=True, **model))
    metric = config_pb2.MetricConfig(
        class_name="ClipMetrics", module="components.evaluator.metrics", config=json.dumps({"num_classes": len(classes)})
    )
    return config_pb2.EvalConfig(
        model_specs=models,
        slicing_specs=[config_pb2.SlicingSpec(), *(config_pb2.SlicingSpec(feature_keys=[feature]) for feature in FEATURES)],
        metrics_specs=[config_pb2.MetricsSpec(metrics=[metric], model_names=[spec.name for spec in models])],
    )
