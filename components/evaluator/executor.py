# SPDX-License-Identifier: Apache-2.0
"""The work of Evaluator: one TFMA job for both models."""

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.extractors import slice_key_extractor
from tensorflow_model_analysis.utils import util
from tfx.dsl.components.base import base_beam_executor
from tfx.types import Artifact, artifact_utils
from tfx.utils import io_utils
from tfx_bsl.tfxio.tf_example_record import TFExampleRecord

from beam_jobs import examples as names
from beam_jobs.errors import UserError
from components.decision_rule import thresholds_of
from components.evaluator.eval_config import eval_config
from components.evaluator.predictions import BASELINE, CANDIDATE, write_predictions
from components.evaluator.signatures import CLASSES, PROBABILITIES, check_signature
from components.evaluator.slices import LOUDNESS, SPEECH, loudness, speech
from components.serving_baseline.artifact import baseline_path
from components.trained_model import trained_model

SPLIT = "test"
RAW_PREDICTIONS = "raw_predictions"


class Executor(base_beam_executor.BaseBeamExecutor):
    """Executor of Evaluator."""

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: dict[str, list[Artifact]], output_dict: dict[str, list[Artifact]], exec_properties: dict[str, Any]
    ) -> None:
        """Evaluates the candidate, and beside it the model in serving where there is one.

        Raises:
            UserError: the test split is empty, or a model was changed or does not answer as a model of this pipeline does.
        """
        model = artifact_utils.get_single_instance(input_dict["model"])
        baseline = artifact_utils.get_single_instance(input_dict["baseline_model"])
        evaluate(
            [io_utils.all_files_pattern(uri) for uri in artifact_utils.get_split_uris(input_dict["examples"], SPLIT)],
            str(trained_model(model)),
            baseline_path(baseline),
            json.loads(exec_properties["classes"]),
            artifact_utils.get_single_uri(output_dict["evaluation"]),
            self._make_beam_pipeline(),
        )


def evaluate(
    patterns: Sequence[str],
    candidate: str,
    baseline: str | None,
    classes: Sequence[str],
    output_uri: str,
    pipeline: beam.Pipeline,
) -> None:
    """Runs TFMA and writes its files and the raw predictions under `output_uri`.

    Args:
        patterns: of the TFRecord files that hold the test clips.
        candidate: folder of a SavedModel.
        baseline: folder of the SavedModel in serving, None where there is none.
        classes: names by label.
        output_uri: folder of the evaluation.
        pipeline: to be run.

    Raises:
        UserError: as `Executor.Do`.
    """
    files = tf.io.gfile.glob(list(patterns))
    if not files or not list(tf.data.TFRecordDataset(files).take(1)):
        raise UserError(f"the {SPLIT} split holds no clips; set clips.num_clips.{SPLIT} to at least 1")
    paths = {CANDIDATE: candidate} | ({BASELINE: baseline} if baseline else {})
    thresholds = {name: thresholds_of(check_signature(path, len(classes)), len(classes)) for name, path in paths.items()}
    config = tfma.utils.update_eval_config_with_defaults(eval_config(classes, thresholds), has_baseline=bool(baseline))
    models = [
        tfma.default_eval_shared_model(path, model_name=name if baseline else "", eval_config=config)
        for name, path in paths.items()
    ]
    shared = models if baseline else models[0]
    rows = tfma.evaluators.Evaluator(
        stage_name="CollectPredictions",
        run_after=slice_key_extractor.SLICE_KEY_EXTRACTOR_STAGE_NAME,
        ptransform=_CollectPredictions(list(paths)),
    )
    write = tfma.writers.Writer(stage_name="WritePredictions", ptransform=_WritePredictions(thresholds, output_uri))
    with pipeline:
        source = TFExampleRecord(
            files, raw_record_column_name=tfma.constants.ARROW_INPUT_COLUMN, telemetry_descriptors=["Evaluator"]
        )
        _ = (
            pipeline
            | "Read" >> source.BeamSource()
            | "Evaluate"
            >> tfma.ExtractEvaluateAndWriteResults(
                eval_shared_model=shared,
                eval_config=config,
                extractors=_extractors(shared, config),
                evaluators=[*tfma.default_evaluators(eval_shared_model=shared, eval_config=config), rows],
                writers=[*tfma.default_writers(output_uri, eval_shared_model=shared, eval_config=config), write],
                output_path=output_uri,
            )
        )


def _extractors(shared: Any, config: Any) -> list[Any]:
    # The buckets are of single clips, so after TFMA has taken the batches apart, and before it makes the slice keys.
    *before, slice_keys = tfma.default_extractors(eval_shared_model=shared, eval_config=config)
    buckets = tfma.extractors.Extractor(stage_name="AddBuckets", ptransform=beam.Map(_add_buckets))
    return [*before, buckets, slice_keys]


def _add_buckets(extracts: dict[str, Any]) -> dict[str, Any]:
    features = dict(util.get_features_from_extracts(extracts))
    features[LOUDNESS] = np.array([loudness(_scalar(features[names.RMS_DBFS]))])
    features[SPEECH] = np.array([speech(_scalar(features[names.SPEECH_RATIO]))])
    extracts = copy.copy(extracts)
    extracts[tfma.constants.FEATURES_KEY] = features
    return extracts


class _CollectPredictions(beam.PTransform):
    """Extracts to rows for `write_predictions`."""

    def __init__(self, models: list[str]) -> None:
        super().__init__()
        self._models = models

    def expand(self, extracts: beam.PCollection) -> dict[str, beam.PCollection]:
        rows = extracts | "Row" >> beam.Map(_row, self._models)
        return {RAW_PREDICTIONS: rows | "Together" >> beam.CombineGlobally(beam.combiners.ToListCombineFn())}


class _WritePredictions(beam.PTransform):
    """Rows to the predictions file."""

    def __init__(self, thresholds: dict[str, np.ndarray], uri: str) -> None:
        super().__init__()
        self._thresholds = thresholds
        self._uri = uri

    def expand(self, evaluation: dict[str, beam.PCollection]) -> beam.PCollection:
        return evaluation[RAW_PREDICTIONS] | "Write" >> beam.Map(_write, self._thresholds, self._uri)


def _write(rows: list[dict[str, Any]], thresholds: dict[str, np.ndarray], uri: str) -> None:
    write_predictions(rows, thresholds, uri)


def _row(extracts: dict[str, Any], models: list[str]) -> dict[str, Any]:
    features = util.get_features_from_extracts(extracts)
    row = {
        "id": _texts(features[names.ID])[0],
        "label": int(_scalar(features[names.LABEL])),
        "mode": _texts(features[names.MODE])[0],
        "num_speakers": int(_scalar(features[names.NUM_SPEAKERS])),
        "speaker_ids": _texts(features[names.SPEAKER_IDS]),
        "utterance_ids": _texts(features[names.UTTERANCE_IDS]),
        "rms_dbfs": _scalar(features[names.RMS_DBFS]),
        "speech_ratio": _scalar(features[names.SPEECH_RATIO]),
    }
    for name in models:
        answer = extracts[tfma.constants.PREDICTIONS_KEY]
        answer = answer[name] if len(models) > 1 else answer
        outputs = answer if isinstance(answer, Mapping) else {PROBABILITIES: answer}  # TFMA unpacks a single output
        row[name] = [float(score) for score in np.ravel(outputs[PROBABILITIES])]
        row[f"{name}_classes"] = _texts(outputs[CLASSES]) if CLASSES in outputs else []
    return row


def _scalar(feature: Any) -> float:
    return float(np.ravel(feature)[0])


def _texts(feature: Any) -> list[str]:
    return [item.decode() if isinstance(item, bytes) else str(item) for item in np.ravel(feature)]
