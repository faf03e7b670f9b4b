"""TFMA's configuration, made from the gate's thresholds."""

from collections.abc import Sequence

from google.protobuf import wrappers_pb2
from tensorflow_model_analysis.proto import config_pb2

from beam_jobs.examples import LABEL, MODE, NUM_SPEAKERS
from components.evaluator.config import GateConfig

SLICES = (LABEL, MODE, NUM_SPEAKERS)


def eval_config(gate: GateConfig, classes: Sequence[str], has_baseline: bool) -> config_pb2.EvalConfig:
    """TFMA's configuration: accuracy and confusion matrix overall and by slice, AUC of each class overall."""
    model = {"signature_name": "serving_default", "label_key": LABEL, "prediction_key": "probabilities"}
    models = [config_pb2.ModelSpec(name="candidate", **model)]
    if has_baseline:
        models.append(config_pb2.ModelSpec(name="baseline", is_baseline=True, **model))
    change = (
        config_pb2.GenericChangeThreshold(
            # "Higher is better" counts a change only where it is greater than the absolute bound, so an equal model would
            # fail at 0 without this allowance for rounding.
            absolute=wrappers_pb2.DoubleValue(value=-gate.max_accuracy_loss - 1e-6),
            direction=config_pb2.MetricDirection.HIGHER_IS_BETTER,
        )
        if has_baseline
        else None
    )
    # A plain `threshold` would hold for every slice too, so each threshold names its slices.
    overall = [config_pb2.SlicingSpec()]
    sliced = [config_pb2.SlicingSpec(feature_keys=[feature]) for feature in SLICES]
    accuracy = config_pb2.MetricConfig(
        class_name="SparseCategoricalAccuracy",
        config='{"name": "accuracy"}',
        per_slice_thresholds=[_at_least(gate.min_accuracy, overall, change), _at_least(gate.min_slice_accuracy, sliced)],
    )
    auc = config_pb2.MetricConfig(
        class_name="AUC", config='{"name": "auc"}', per_slice_thresholds=[_at_least(gate.min_auc, overall)]
    )
    # Above 0 every clip counts for its most probable class; at 0.5 one of three classes may not get there.
    matrix = config_pb2.MetricConfig(class_name="MultiClassConfusionMatrixAtThresholds", config='{"thresholds": [0.0]}')
    count = config_pb2.MetricConfig(class_name="ExampleCount", config='{"name": "clips"}')
    names = [spec.name for spec in models]
    binarize = config_pb2.BinarizationOptions(class_ids={"values": list(range(len(classes)))})
    return config_pb2.EvalConfig(
        model_specs=models,
        slicing_specs=[*overall, *sliced],
        metrics_specs=[
            config_pb2.MetricsSpec(metrics=[accuracy, matrix, count], model_names=names),
            config_pb2.MetricsSpec(metrics=[auc], binarize=binarize, model_names=names),
        ],
    )


def _at_least(
    bound: float, slices: Sequence[config_pb2.SlicingSpec], change: config_pb2.GenericChangeThreshold | None = None
) -> config_pb2.PerSliceMetricThreshold:
    value = config_pb2.GenericValueThreshold(lower_bound=wrappers_pb2.DoubleValue(value=bound))
    threshold = config_pb2.MetricThreshold(value_threshold=value, change_threshold=change)
    return config_pb2.PerSliceMetricThreshold(slicing_specs=slices, threshold=threshold)
