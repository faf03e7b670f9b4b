# SPDX-License-Identifier: Apache-2.0
"""Lets SavedModels answer in a process that has TensorFlow and none of this project's code: to check one, or to time several.

Run as `python -I -S probe.py request.json`; only the standard library, NumPy and TensorFlow may be imported here.
What it is about to do goes to stdout line by line, so that whoever started it knows where it died.
"""

import importlib.abc
import io
import json
import math
import os
import shutil
import statistics
import sys
import threading
import time
import wave
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

NOT_HERE = ("beam_jobs", "components", "pipeline", "kapre", "tf_keras", "tensorflow_transform", "tfx")
"""What a model server does not have. Some may be installed beside TensorFlow, so they are refused by name."""

ROUNDS = 5
"""How often each model is timed."""


def end_with_the_watchdog(folder: str) -> None:
    """Ends this process, and removes its folder, when whoever watches it is gone: a model that hangs would run for ever."""
    os.read(0, 1)  # not sys.stdin, whose lock this thread would hold when the interpreter ends
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


class RefuseProject(importlib.abc.MetaPathFinder):
    """Makes these modules as good as not installed."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Raises for what a model server does not have, and leaves the rest to others."""
        if name.split(".")[0] in NOT_HERE:
            raise ModuleNotFoundError(f"No module named {name!r} (a model server has none)")


def main(request: dict[str, Any]) -> None:
    """Loads the model, asks every signature, writes what they give."""
    sys.path.append(request["site_packages"])
    sys.meta_path.insert(0, RefuseProject())
    print("starting TensorFlow", flush=True)
    import numpy as np
    import tensorflow as tf

    print("loading the model", flush=True)
    found: dict[str, Any] = {"load_error": None, "predictions": {}}
    try:
        signatures = tf.saved_model.load(request["model"]).signatures
    except Exception as error:
        found["load_error"] = one_line(error)
        signatures = {}

    records, contents, sample_rate_hz = read_clips(request)
    waveforms = np.stack([np.frombuffer(content, "<i2") for content in contents]) / np.float32(32768)
    files = {"wav": tf.constant([wav(content, sample_rate_hz) for content in contents])}
    questions = {
        "serving_default": {"examples": tf.constant(records)},
        "wav": files,
        "timeline": files,
        "waveform": {"waveform": tf.constant(waveforms, tf.float32)},
        "waveforms": {
            "waveform": tf.constant(np.pad(waveforms, [(0, 0), (0, 1000)]), tf.float32),
            "lengths": tf.constant([waveforms.shape[1]] * len(waveforms), tf.int64),
        },
    }
    for name, question in questions.items():
        print(f"asking signature {name}", flush=True)
        if name in signatures:
            try:
                outputs = {key: value.numpy().tolist() for key, value in signatures[name](**question).items()}
                found["predictions"][name] = {"outputs": outputs}
            except Exception as error:
                found["predictions"][name] = {"error": one_line(error)}
    Path(request["predictions"]).write_text(json.dumps(found, default=lambda value: value.decode(errors="replace")))


def time_models(request: dict[str, Any]) -> None:
    """Asks each model about all clips, and about one, and does so again, by turns; writes the medians.

    The signature is the one that takes sound of any rate and length, so that two models can be asked about the same clips.
    """
    sys.path.append(request["site_packages"])
    sys.meta_path.insert(0, RefuseProject())
    import tensorflow as tf

    _, contents, sample_rate_hz = read_clips(request)
    files = tf.constant([wav(content, sample_rate_hz) for content in contents])
    audio_s = sum(map(len, contents)) / 2 / sample_rate_hz
    ask = {name: tf.saved_model.load(path).signatures["wav"] for name, path in request["models"].items()}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ask}
    for turn in range(ROUNDS + 1):
        for name, answer in ask.items():
            cpu_s, _ = timed(partial(answer, wav=files))
            _, latency_s = timed(partial(answer, wav=files[:1]))
            if turn:  # the first is slower: TensorFlow prepares the graph
                found[name].append((cpu_s, latency_s))
    costs = {}
    for name, path in request["models"].items():
        cpu_s, latency_s = (statistics.median(values) for values in zip(*found[name], strict=True))
        costs[name] = {
            "num_bytes": sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file()),
            "parameters": parameters(tf.train.list_variables(f"{path}/variables/variables")),
            "cpu_ms_per_s": 1000 * cpu_s / audio_s,
            "latency_ms": 1000 * latency_s,
        }
    Path(request["costs"]).write_text(json.dumps(costs))


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of CPU, of all threads of this process, and seconds that passed."""
    cpu_s, passed_s = time.process_time(), time.monotonic()
    work()
    return time.process_time() - cpu_s, time.monotonic() - passed_s


def parameters(variables: list[tuple[str, list[int]]]) -> int:
    """How many numbers a SavedModel's variables hold, without its own bookkeeping."""
    return sum(
        math.prod(shape)
        for name, shape in variables
        if name.endswith("/.ATTRIBUTES/VARIABLE_VALUE") and not name.startswith("save_counter")
    )


def read_clips(request: dict[str, Any]) -> tuple[list[bytes], list[bytes], int]:
    """The records, the samples of each as 16-bit integers, and their rate."""
    import tensorflow as tf

    records = [record.numpy() for record in tf.data.TFRecordDataset(request["records"])]
    features = {
        request["pcm16_feature"]: tf.io.FixedLenFeature([], tf.string),
        request["sample_rate_feature"]: tf.io.FixedLenFeature([], tf.int64),
    }
    clips = tf.io.parse_example(records, features)
    return records, list(clips[request["pcm16_feature"]].numpy()), int(clips[request["sample_rate_feature"]][0])


def one_line(error: Exception) -> str:
    """The first line of what an error says, with its kind."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def wav(pcm16: bytes, sample_rate_hz: int) -> bytes:
    """Mono 16-bit samples as a WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(sample_rate_hz)
        out.writeframes(pcm16)
    return file.getvalue()


if __name__ == "__main__":
    threading.Thread(target=end_with_the_watchdog, args=[str(Path(sys.argv[1]).parent)], daemon=True).start()
    request = json.loads(Path(sys.argv[1]).read_text())
    (time_models if "models" in request else main)(request)
