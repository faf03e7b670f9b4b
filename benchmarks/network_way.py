"""A network, trained by the Trainer's own code on a dataset folder and scored on others; prints JSON."""

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

from beam_jobs import examples
from beam_jobs.dataset import read_dataset_info
from benchmarks.scores import length_name, scores_of
from components.trainer.data import LABELLED_FEATURES, evaluation_dataset
from components.trainer.run_fn import train_network
from components.transform.preprocessing import preprocessing_fn
from pipeline.config import load_config

TEST_BATCH = 4


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY.PATH=VALUE")
    parser.add_argument("--train", type=Path, required=True, help="dataset folder with train and eval")
    parser.add_argument("--test", type=Path, action="append", default=[], help="dataset folder with test")
    args = parser.parse_args()
    config = load_config(args.config, args.settings)
    shards = f"{args.train}/train/*"
    with TemporaryDirectory() as name:
        folder = Path(name)
        num_samples = read_dataset_info(str(args.train)).clips.num_samples
        fn_args = SimpleNamespace(
            train_files=[shards],
            eval_files=[f"{args.train}/eval/*"],
            transform_graph_path=analyse(shards, num_samples, folder),
        )
        training = {
            "clips": {"num_samples": num_samples, "sample_rate_hz": config.clips.sample_rate_hz},
            "classes": list(config.clips.classes),
            "model": config.model.model_dump(mode="json"),
            "train": config.train.model_dump(mode="json"),
            "seed": config.train.seed,
        }
        started, cpu = time.monotonic(), time.process_time()
        network, _, history = train_network(fn_args, training, str(folder / "logs"))
        figures: dict[str, Any] = {
            "parameters": network.count_params(),
            "minutes": (time.monotonic() - started) / 60,
            "cpu_minutes": (time.process_time() - cpu) / 60,
            "history": {name: [round(float(value), 4) for value in values] for name, values in history.history.items()},
        }
        for test in args.test:
            graph = analyse(shards, read_dataset_info(str(test)).clips.num_samples, folder)
            transform = tft.TFTransformOutput(graph).transform_features_layer()
            clips = evaluation_dataset([f"{test}/test/*"], transform, TEST_BATCH)
            answers = [(label.numpy(), network(waveform, training=False).numpy()) for waveform, label in clips]
            labels, probabilities = (np.concatenate(part) for part in zip(*answers, strict=True))
            figures[length_name(test)] = scores_of(labels, probabilities)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
