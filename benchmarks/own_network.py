"""A network, trained by the Trainer's own code on a dataset folder and scored on others; prints JSON."""

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import tensorflow_transform as tft

from beam_jobs.dataset import read_dataset_info
from benchmarks.scores import length_name, scores_of
from benchmarks.transform_graph import analyse
from components.trainer.input.batches import evaluation_dataset
from components.trainer.training import train_network
from pipeline.config import load_config
from pipeline.dag import training_spec

TEST_BATCH = 4


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
        spec = training_spec(config).model_copy(update={"num_samples": num_samples})
        started, cpu = time.monotonic(), time.process_time()
        network, _, history = train_network(fn_args, spec, str(folder / "logs"))
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
