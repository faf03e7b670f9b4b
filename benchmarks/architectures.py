# SPDX-License-Identifier: Apache-2.0
"""What each architecture costs: `python -m benchmarks.architectures`. What is measured: docs/network.md."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import tensorflow as tf
import tf_keras as keras

from components.trainer.config import ModelConfig, TrainConfig
from components.trainer.network.architectures import ARCHITECTURES
from components.trainer.network.model import build_model
from components.trainer.training import compile_model

SAMPLE_RATE_HZ = 16_000
LONG_S = 60


def variants(network: keras.Model) -> dict[str, Callable[[], object]]:
    """One train step on a batch of crops, and the answer for one long clip, both traced and run once."""
    train = TrainConfig()
    compile_model(network, train, 2)
    crops = tf.random.normal([train.batch_size, round(train.crop_s * SAMPLE_RATE_HZ)], seed=1)
    labels = tf.range(train.batch_size) % 2
    clip = tf.random.normal([1, LONG_S * SAMPLE_RATE_HZ], seed=2)
    answer = tf.function(lambda: network(clip, training=False))
    found = {
        "step": lambda: network.train_on_batch(crops, labels),
        "clip": lambda: [output.numpy() for output in tf.nest.flatten(answer())],
    }
    for variant in found.values():
        variant()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="the architectures take turns")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    figures, runs = {}, {}
    for name in ARCHITECTURES:
        network = build_model(ModelConfig.model_validate({"architecture": name}), SAMPLE_RATE_HZ, SAMPLE_RATE_HZ, 2)
        figures[name] = {"parameters": network.count_params()}
        for kind, variant in variants(network).items():
            runs[name, kind] = variant
    times: dict[tuple[str, str], list[tuple[float, float]]] = {key: [] for key in runs}
    for _ in range(arguments.rounds):
        for key, variant in runs.items():
            started, cpu_started = time.perf_counter(), time.process_time()
            variant()
            times[key].append((time.perf_counter() - started, time.process_time() - cpu_started))
    for (name, kind), found in times.items():
        figures[name][f"{kind}_ms"] = round(1000 * median(seconds for seconds, _ in found), 1)
        figures[name][f"{kind}_cpu_ms"] = round(1000 * median(cpu_s for _, cpu_s in found), 1)
    print(f"{'':<12}{'parameters':>12}{'step ms':>10}{'CPU ms':>10}{f'{LONG_S} s ms':>10}{'CPU ms':>10}")
    for name, row in figures.items():
        cells = "".join(f"{row[key]:>10.0f}" for key in ("step_ms", "step_cpu_ms", "clip_ms", "clip_cpu_ms"))
        print(f"{name:<12}{row['parameters']:>12,}{cells}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
