# SPDX-License-Identifier: Apache-2.0
"""The preprocessing graph, analysed as TFX's Transform does it."""

from pathlib import Path

import apache_beam as beam
import tensorflow as tf
import tensorflow_transform.beam as tft_beam
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

from beam_jobs import examples
from components.trainer.input.batches import LABELLED_FEATURES
from components.transform.preprocessing import preprocessing_fn


def analyse(shards: str, num_samples: int, folder: Path) -> str:
    """Writes the preprocessing graph, analysed over the clips of `shards`, for clips of `num_samples`; returns its folder."""
    records = tf.data.TFRecordDataset(sorted(tf.io.gfile.glob(shards)))
    feature = {examples.RMS_DBFS: LABELLED_FEATURES[examples.RMS_DBFS]}
    levels = records.map(lambda record: tf.io.parse_single_example(record, feature)[examples.RMS_DBFS]).as_numpy_iterator()
    # The analysis looks at the levels alone.
    rows = [{examples.PCM16: b"", examples.RMS_DBFS: level, examples.LABEL: 0} for level in levels]
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(LABELLED_FEATURES))
    options = beam.options.pipeline_options.PipelineOptions(["--direct_running_mode=in_memory"])
    graph = folder / f"graph-{num_samples}"
    with beam.Pipeline(options=options) as pipeline, tft_beam.Context(temp_dir=str(folder / "tmp")):
        clips = (pipeline | beam.Create(rows), metadata)
        analysed = clips | tft_beam.AnalyzeDataset(lambda inputs: preprocessing_fn(inputs, {"num_samples": num_samples}))
        analysed | tft_beam.WriteTransformFn(str(graph))
    return str(graph)
