# SPDX-License-Identifier: Apache-2.0
"""The work of Evaluator: one TFMA job for both models."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.extractors import slice_key_extractor
from tensorflow_model_analysis.utils import util
from tfx.dsl.components.base import base_beam_executor
from tfx.types import Artifact, artifact_utils
from tfx_bsl.tfxio.tf_example_record import TFExampleBeamRecord

import components.installed_workers  # noqa: F401 (a fault of TFX's executors)
from beam_jobs import examples as names
from beam_jobs.clip_store import ClipsReference, read_reference
from beam_jobs.clip_store.read_clips import ReadClips
from beam_jobs.errors import UserError, one_line_errors
from beam_jobs.filesystems import set_filesystem_options
from components.decision_rule import thresholds_of
from components.evaluator.eval_config import eval_config
from components.evaluator.predictions import BASELINE, CANDIDATE, line, shard_prefix, write_models
from components.evaluator.signatures import CLASSES, PROBABILITIES, check_signature
from components.evaluator.slices import LOUDNESS, SPEECH, SUBSET, loudness, speech, subset
from components.evaluator.worker_models import shared_model
from components.serving_baseline.artifact import baseline_path
from components.staging import staged
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
        set_filesystem_options([str(argument) for argument in self._beam_pipeline_args])
        model = artifact_utils.get_single_instance(input_dict["model"])
        baseline = artifact_utils.get_single_instance(input_dict["baseline_model"])
        with staged(self._beam_pipeline_args, [], output_dict["evaluation"]) as place:
            evaluate(
                read_reference(artifact_utils.get_single_uri(input_dict["clips"])),
                str(trained_model(model)),
                baseline_path(baseline),
                json.loads(exec_properties["classes"]),
                artifact_utils.get_single_uri(output_dict["evaluation"]),
                self._make_beam_pipeline(),
                place,
            )


def evaluate(
    clips: ClipsReference,
    candidate: str,
    baseline: str | None,
    classes: Sequence[str],
    output_uri: str,
    pipeline: beam.Pipeline,
    place: str | None = None,
) -> None:
    """Runs TFMA and writes its files and the raw predictions under `output_uri`.

    Args:
        clips: of which the split `test` is evaluated.
        candidate: folder of a SavedModel.
        baseline: folder of the SavedModel in serving, None where there is none.
        classes: names by label.
        output_uri: folder of the evaluation.
        pipeline: to be run.
        place: a folder that all workers reach, to fetch the models from; None where they see those folders themselves.

    Raises:
        UserError: as `Executor.Do`.
    """
    if not clips.of_split(SPLIT):
        raise UserError(f"the {SPLIT} split holds no clips; set clips.num_clips.{SPLIT} to at least 1")
    paths = {CANDIDATE: candidate} | ({BASELINE: baseline} if baseline else {})
    thresholds = {name: thresholds_of(check_signature(path, len(classes)), len(classes)) for name, path in paths.items()}
    config = tfma.utils.update_eval_config_with_defaults(eval_config(classes, thresholds), has_baseline=bool(baseline))
    models = [shared_model(path, name if baseline else "", config, place) for name, path in paths.items()]
    shared = models if baseline else models[0]
    rows = tfma.evaluators.Evaluator(
        stage_name="PredictionLines",
        run_after=slice_key_extractor.SLICE_KEY_EXTRACTOR_STAGE_NAME,
        ptransform=_PredictionLines(list(paths)),
    )
    write = tfma.writers.Writer(stage_name="WritePredictions", ptransform=_WriteLines(output_uri))
    with one_line_errors(), pipeline:
        batches = TFExampleBeamRecord(
            "tfrecord", telemetry_descriptors=["Evaluator"], raw_record_column_name=tfma.constants.ARROW_INPUT_COLUMN
        )
        _ = (
            pipeline
            | "Read" >> ReadClips(clips, SPLIT)
            | "Batch" >> batches.BeamSource()
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
    write_models(thresholds, output_uri)


def _extractors(shared: Any, config: Any) -> list[Any]:
    # The buckets are of single clips, so after TFMA has taken the batches apart, and before it makes the slice keys.
    *before, slice_keys = tfma.default_extractors(eval_shared_model=shared, eval_config=config)
    buckets = tfma.extractors.Extractor(stage_name="AddBuckets", ptransform=beam.Map(_add_buckets))
    return [*before, buckets, slice_keys]


def _add_buckets(extracts: dict[str, Any]) -> dict[str, Any]:
    features = {name: value for name, value in util.get_features_from_extracts(extracts).items() if name != names.PCM16}
    features[LOUDNESS] = np.array([loudness(_scalar(features[names.RMS_DBFS]))])
    features[SPEECH] = np.array([speech(_scalar(features[names.SPEECH_RATIO]))])
    features[SUBSET] = np.array([name for name in [subset(_texts(features[names.UTTERANCE_IDS]))] if name], dtype=str)
    # From here on TFMA hands on a copy of everything for each slice: without the audio, which has been answered for.
    kept = {
        name: value for name, value in extracts.items() if name not in (tfma.constants.INPUT_KEY, tfma.constants.FEATURES_KEY)
    }
    return {**kept, tfma.constants.FEATURES_KEY: features}


class _PredictionLines(beam.PTransform):
    """Extracts to lines of the raw predictions."""

    def __init__(self, models: list[str]) -> None:
        super().__init__()
        self._models = models

    def expand(self, extracts: beam.PCollection) -> dict[str, beam.PCollection]:
        return {RAW_PREDICTIONS: extracts | "Line" >> beam.Map(lambda clip, models: line(_row(clip, models)), self._models)}


class _WriteLines(beam.PTransform):
    """Lines to shards, as many as there are workers or bundles: no worker gathers the lines of others."""

    def __init__(self, uri: str) -> None:
        super().__init__()
        self._uri = uri

    def expand(self, evaluation: dict[str, beam.PCollection]) -> beam.PCollection:
        return evaluation[RAW_PREDICTIONS] | "Write" >> beam.io.WriteToText(shard_prefix(self._uri), ".jsonl")


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
