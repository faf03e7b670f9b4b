# SPDX-License-Identifier: Apache-2.0
"""One variant of training, in a process of its own that works when told:

`python -m benchmarks.training_variants VARIANT FOLDER CLIP_S BATCH`.

`FOLDER` holds the generator's clips in `ours/`; "prepare" writes them the article's way into `article/`, and a Transform graph
beside them. Every other variant builds what it measures, warms up and writes a line. Then for each line of input, a number of
seconds, it works at least that long and answers with a line of JSON: `seconds`, `cpu_s`, `steps`, and `peak_mb`, resident, in the
whole life of the process.
"""

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import tensorflow as tf
import tensorflow_transform as tft
import tf_keras as keras

from beam_jobs.examples import decode_clip, read_records
from benchmarks import article_model
from benchmarks.transform_graph import analyse
from components.trainer.config import ModelConfig, TrainConfig
from components.trainer.input.batches import record_cache, training_dataset
from components.trainer.network.model import build_model, precision
from components.trainer.training import compile_model

SAMPLE_RATE_HZ = 22050
WARMUP_STEPS = 3

Step = Callable[[], Any]


@dataclass(frozen=True)
class Setting:
    """What all variants share."""

    folder: Path
    clip_s: float
    batch_size: int

    @property
    def crop_s(self) -> float:
        return min(TrainConfig().crop_s, self.clip_s)

    def article_batches(self) -> Iterator[Any]:
        files = sorted(map(str, (self.folder / "article").iterdir()))
        return iter(article_model.dataset(files, _samples(self.clip_s), self.batch_size))

    def our_batches(self, crop_s: float, cache: str | None = None) -> Iterator[Any]:
        transform = tft.TFTransformOutput(str(self.folder / f"graph-{_samples(self.clip_s)}")).transform_features_layer()
        files = [str(self.folder / "ours" / "train" / "*.tfrecord")]
        dataset = training_dataset(files, transform, self.batch_size, _samples(crop_s), seed=0, cache=cache)
        return iter(dataset.repeat())


def train_article(setting: Setting) -> Step:
    """The article's network, whole clips."""
    network = article_model.build_article_model(_samples(setting.clip_s), SAMPLE_RATE_HZ, 2)
    article_model.compile_article_model(network)
    return _training_step(network, setting.article_batches())


def train_ours(setting: Setting, whole: bool = False, policy: str = "float32", jit_compile: bool = False) -> Step:
    """Our network, random crops or whole clips."""
    crop_s = setting.clip_s if whole else setting.crop_s
    with precision(policy):
        network = build_model(ModelConfig(), _samples(crop_s), SAMPLE_RATE_HZ, 2)
    compile_model(network, TrainConfig(jit_compile=jit_compile), 2)
    return _training_step(network, setting.our_batches(crop_s))


def front_end(setting: Setting) -> Step:
    """Our network as far as mel and delta. Forward alone: it has no weights to go back to."""
    network = build_model(ModelConfig(), _samples(setting.crop_s), SAMPLE_RATE_HZ, 2)
    decibels, classifier = network.get_layer("mel_decibels"), network.get_layer("classifier")
    features = keras.Model(classifier.input, classifier.get_layer("mel_mask").input)
    forward = tf.function(lambda waveform: features(decibels(waveform)))
    waveform = next(setting.our_batches(setting.crop_s))[0]
    return partial(forward, waveform)


def read_article(setting: Setting) -> Step:
    """The article's input pipeline with no network behind it."""
    return partial(next, setting.article_batches())


def read_ours(setting: Setting, cache: Literal["none", "memory", "file"] = "none") -> Step:
    """Ours."""
    with record_cache(cache, str(setting.folder / "cache")) as name:
        return partial(next, setting.our_batches(setting.crop_s, name))


def prepare(setting: Setting) -> Step:
    """Writes our clips the article's way too, and analyses the preprocessing graph. Nothing is left to be repeated."""
    folder = setting.folder
    (folder / "article").mkdir()
    shards = sorted((folder / "ours" / "train").glob("*.tfrecord"))
    for shard in shards:
        with shard.open("rb") as file:
            article_model.write_records(map(decode_clip, read_records(file)), folder / "article" / shard.name)
    analyse(str(folder / "ours" / "train" / "*.tfrecord"), _samples(setting.clip_s), folder)
    return lambda: None


VARIANTS: dict[str, Callable[[Setting], Step]] = {
    "prepare": prepare,
    "article": train_article,
    "ours": train_ours,
    "ours, whole clips": partial(train_ours, whole=True),
    "ours, bfloat16": partial(train_ours, policy="mixed_bfloat16"),
    "ours, XLA": partial(train_ours, jit_compile=True),
    "ours, front end": front_end,
    "article, input": read_article,
    "ours, input": read_ours,
    "ours, input, cached": partial(read_ours, cache="memory"),
}


def _training_step(network: keras.Model, batches: Iterator[Any]) -> Step:
    # The function that `fit` calls for each step.
    return partial(network.make_train_function(), batches)


def _samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE_HZ)


def _work(step: Step, seconds: float) -> dict[str, float]:
    clock, cpu, steps = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - clock < seconds:
        step()
        steps += 1
    return {"seconds": time.perf_counter() - clock, "cpu_s": time.process_time() - cpu, "steps": steps}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant", choices=VARIANTS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("clip_s", type=float)
    parser.add_argument("batch", type=int)
    arguments = parser.parse_args()
    keras.utils.set_random_seed(0)
    setting = Setting(arguments.folder, arguments.clip_s, arguments.batch)
    step = VARIANTS[arguments.variant](setting)
    for _ in range(WARMUP_STEPS):
        step()
    print("ready", flush=True)
    for line in sys.stdin:
        figures = _work(step, float(line))
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(figures | {"peak_mb": peak_mb}), flush=True)


if __name__ == "__main__":
    main()
