# SPDX-License-Identifier: Apache-2.0
"""A network, trained on a dataset folder and exported, by the Trainer's own code; prints JSON."""

import argparse
import json
import shutil
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import tensorflow as tf

from beam_jobs.clip_store import ClipsReference
from beam_jobs.dataset import read_dataset_info
from benchmarks.transform_graph import analyse
from components.trainer.training import train_and_export
from pipeline.config import load_config
from pipeline.dag import training_spec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY.PATH=VALUE")
    parser.add_argument("--train", type=Path, required=True, help="dataset folder with train and eval")
    parser.add_argument("--export", type=Path, required=True, help="where the SavedModel goes")
    args = parser.parse_args()
    config = load_config(args.config, args.settings)
    shards = f"{args.train}/train/*.tfrecord"
    with TemporaryDirectory() as name:
        folder = Path(name)
        num_samples = read_dataset_info(str(args.train)).clips.num_samples
        fn_args = SimpleNamespace(
            transform_graph_path=analyse(shards, num_samples, folder),
            model_run_dir=str(folder / "logs"),
            serving_model_dir=str(folder / "model"),
        )
        started, cpu = time.monotonic(), time.process_time()
        train_and_export(fn_args, training_spec(config).model_copy(update={"clips": ClipsReference.of_dataset(str(args.train))}))
        minutes, cpu_minutes = (time.monotonic() - started) / 60, (time.process_time() - cpu) / 60
        variables = tf.saved_model.load(fn_args.serving_model_dir).weights
        shutil.move(folder / "model", args.export)
    parameters = int(sum(tf.size(variable) for variable in variables))
    print(json.dumps({"parameters": parameters, "minutes": minutes, "cpu_minutes": cpu_minutes}))


if __name__ == "__main__":
    main()
