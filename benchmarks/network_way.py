"""One trained network: trains on a folder of clips with the Trainer's own code and scores test clips; prints JSON."""

import argparse
import json
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

from beam_jobs import examples
from components.trainer.data import LABELLED_FEATURES, evaluation_dataset, training_dataset
from components.trainer.model import build_model
from components.trainer.run_fn import SPEECH_BLOCKS_PER_S, fit
from components.transform.preprocessing import preprocessing_fn
from pipeline.config import load_config


def transforms(pattern: str, lengths: list[int]) -> list[Any]:
    """The preprocessing graph, analysed over the clips of `pattern`, for clips of each number of samples."""
    records = tf.data.TFRecordDataset(sorted(tf.io.gfile.glob(pattern)))
    feature = {examples.RMS_DBFS: LABELLED_FEATURES[examples.RMS_DBFS]}
    levels = [row[examples.RMS_DBFS] for row in records.map(lambda r: tf.io.parse_single_example(r, feature)).as_numpy_iterator()]
    rows = [{examples.PCM16: b"", examples.RMS_DBFS: level, examples.LABEL: 0} for level in levels]
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(LABELLED_FEATURES))
    options = beam.options.pipeline_options.PipelineOptions(["--direct_running_mode=in_memory"])
    layers = []
    for length in lengths:
        folder = tempfile.mkdtemp()
        with beam.Pipeline(options=options) as pipeline, tft_beam.Context(temp_dir=folder + "/tmp"):
            data = (pipeline | beam.Create(rows), metadata)
            graph = data | tft_beam.AnalyzeDataset(lambda inputs, n=length: preprocessing_fn(inputs, {"num_samples": n}))
            graph | tft_beam.WriteTransformFn(folder + "/graph")
        layers.append(tft.TFTransformOutput(folder + "/graph").transform_features_layer())
    return layers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--train", type=Path, required=True, help="dataset folder with train and eval")
    parser.add_argument("--test", type=Path, action="append", default=[], help="dataset folder with test")
    parser.add_argument("--scores", type=Path, help="write labels and probabilities here (.npz)")
    args = parser.parse_args()
    config = load_config(args.config, args.settings)
    rate, num_classes, train = config.clips.sample_rate_hz, len(config.clips.classes), config.train
    lengths = [json.loads((folder / "dataset_info.json").read_text())["clips"]["duration_s"] for folder in (args.train, *args.test)]
    layers = transforms(f"{args.train}/train/*", [round(length * rate) for length in lengths])
    import tf_keras as keras

    keras.utils.set_random_seed(train.seed)
    crop = round(train.crop_s * rate)
    network = build_model(config.model, crop, rate, num_classes)
    train_data = training_dataset([f"{args.train}/train/*"], layers[0], train.batch_size, crop, rate // SPEECH_BLOCKS_PER_S, train.seed)
    eval_data = evaluation_dataset([f"{args.train}/eval/*"], layers[0], train.batch_size)
    started, cpu = time.monotonic(), time.process_time()
    history = fit(network, train, train_data, eval_data, num_classes, tempfile.mkdtemp())
    figures: dict[str, Any] = {
        "parameters": network.count_params(),
        "minutes": (time.monotonic() - started) / 60,
        "cpu_minutes": (time.process_time() - cpu) / 60,
        "epochs": len(history.history["loss"]),
        "loss": [round(float(x), 3) for x in history.history["loss"]],
        "val_loss": [round(float(x), 3) for x in history.history["val_loss"]],
        "val_accuracy": [round(float(x), 3) for x in history.history["val_accuracy"]],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    scores = {}
    for folder, layer, length in zip(args.test, layers[1:], lengths[1:], strict=True):
        data = evaluation_dataset([f"{folder}/test/*"], layer, 4)
        labels, probabilities = [], []
        for waveform, label in data:
            probabilities.append(network(waveform, training=False).numpy())
            labels.append(label.numpy())
        scores[f"labels_{length:g}"], scores[f"probabilities_{length:g}"] = np.concatenate(labels), np.concatenate(probabilities)
        figures[f"{length:g}"] = metrics(scores[f"labels_{length:g}"], scores[f"probabilities_{length:g}"])
    if args.scores:
        np.savez(args.scores, **scores)
    print(json.dumps(figures))


def metrics(labels: np.ndarray, probabilities: np.ndarray, bins: int = 10) -> dict[str, float]:
    """Accuracy and expected calibration error (ten bins of confidence)."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    ece = sum(abs(confidence[bin_of == b].mean() - right[bin_of == b].mean()) * (bin_of == b).mean() for b in set(bin_of))
    return {"accuracy": float(right.mean()), "ece": float(ece), "clips": len(labels)}


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    main()
