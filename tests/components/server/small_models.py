# SPDX-License-Identifier: Apache-2.0
"""SavedModels that take milliseconds, good ones and bad ones, and the real one with its labels swapped."""

import base64
import time
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf
from running_server import Running

from components.pusher.candidate import place
from components.pusher.provenance import Provenance
from components.pusher.serving_folder import push
from components.server.trial import QUIET_S

FILES = [base64.b64encode(f"recording {number}".encode()).decode() for number in range(200)]
"""What the small models take for recordings: they only look at the bytes' hash."""
POISON = base64.b64encode(b"poison").decode()
"""What no model of the kind `poisoned` can answer."""
SIGNATURES = ("wav", "serving_default", "waveform", "waveforms", "combine")
PARTS = {"wide": 3, "failing to combine": 2}
"""How wide the parts are of those kinds that have a `timeline`."""


class Small(tf.Module):
    """A SavedModel with the signatures that a server asks, whose answer is a hash of what it is given."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def answer(self, first: tf.Tensor) -> dict[str, tf.Tensor]:
        size = tf.size(first)
        if self.kind == "contrary":
            first = 1 - first
        if self.kind == "lopsided":  # an eighth of the first class becomes the second
            first = tf.where((first > 0.5) & (first < 0.75), 0.4, first)
        if self.kind == "unsure":  # the same labels
            first = 0.5 + 0.1 * (first - 0.5)
        if self.kind == "NaN":
            first = tf.where(first < 0.2, float("nan"), first)
        probabilities = tf.stack([first, 1 - first], axis=1)
        return {
            "probabilities": probabilities,
            "classes": tf.repeat(tf.constant([["a", "b"]]), size, axis=0),
            "thresholds": tf.fill([size, 2], 0.5),
            "label": tf.gather(tf.constant(["a", "b"]), tf.argmax(probabilities, axis=1)),
            "speech": tf.ones([size]),
            "duration_s": tf.fill([size], 0.25),
            "error": tf.fill([size], ""),
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "wav")], autograph=False)
    def wav(self, wav: tf.Tensor) -> dict[str, tf.Tensor]:
        first = tf.cast(tf.strings.to_hash_bucket_fast(wav, 1000), tf.float32) / 1000
        if self.kind in ("failing", "poisoned"):  # on what a client sends, and not on what warms it up
            fine = tf.strings.length(wav) > 1000 if self.kind == "failing" else wav != "poison"
            with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(fine), ["out of memory"])]):
                first = tf.identity(first)
        if self.kind.startswith("hanging"):
            by_bytes = {
                "hanging": tf.strings.length(wav) < 1000,  # on what a client sends
                "hanging on poison": wav == "poison",
                "hanging at once": tf.fill(tf.shape(wav), True),
            }
            turns = tf.where(tf.reduce_any(by_bytes[self.kind]), tf.constant(2**62, tf.int64), tf.constant(1, tf.int64))
            (turned,) = tf.while_loop(lambda turn: turn < turns, lambda turn: turn + 1, [tf.constant(0, tf.int64)])
            first += tf.cast(turned, tf.float32) * 1e-30
        if self.kind.startswith("taking"):  # seconds, whatever else the machine does, over what a client sends
            seconds = tf.where(tf.reduce_any(tf.strings.length(wav) < 1000), tf.cast(float(self.kind.split()[1]), tf.float64), 0)
            ends = tf.timestamp() + seconds
            (passed,) = tf.while_loop(lambda now: now < ends, lambda now: tf.timestamp(), [tf.constant(0, tf.float64)])
            first += tf.cast(passed, tf.float32) * 1e-30
        if self.kind == "slow":
            matrix = tf.fill([500, 500], tf.reduce_mean(first) / 500)  # of the input, or it would be computed once
            for _ in range(40):
                matrix = matrix @ matrix
            first += tf.reduce_max(matrix) * 1e-9
        return self.answer(first)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")], autograph=False)
    def serving_default(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return self.answer(tf.fill([tf.size(examples)], 0.3))

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, "waveform")], autograph=False)
    def waveform(self, waveform: tf.Tensor) -> dict[str, tf.Tensor]:
        first = tf.fill([tf.shape(waveform)[0]], 0.3)
        if self.kind == "endless":  # on what is asked while it is loaded
            first = tf.while_loop(lambda first: tf.reduce_all(first < 1), lambda first: (first * 1.0,), [first])[0]
        return self.answer(first)

    @tf.function(
        input_signature=[tf.TensorSpec([None, None], tf.float32, "waveform"), tf.TensorSpec([None], tf.int64, "lengths")],
        autograph=False,
    )
    def waveforms(self, waveform: tf.Tensor, lengths: tf.Tensor) -> dict[str, tf.Tensor]:
        return self.answer(tf.fill([tf.size(lengths)], 0.3))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "wav")], autograph=False)
    def timeline(self, wav: tf.Tensor) -> dict[str, tf.Tensor]:
        size = tf.size(wav)
        steps = {"step_pooled": tf.ones([size, 2, PARTS.get(self.kind, 2)]), "step_probabilities": tf.fill([size, 2, 2], 0.5)}
        return self.wav(wav) | steps | {name: tf.ones([size, 2]) for name in ("step_speech", "step_weights")}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, None], tf.float32, "step_pooled"),
            tf.TensorSpec([None, None], tf.float32, "step_weights"),
        ],
        autograph=False,
    )
    def combine(self, step_pooled: tf.Tensor, step_weights: tf.Tensor) -> dict[str, tf.Tensor]:
        pooled = tf.ensure_shape(step_pooled, [None, None, PARTS.get(self.kind, 2)])
        if self.kind == "failing to combine":
            with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(pooled > 1e9), ["out of memory"])]):
                pooled = tf.identity(pooled)
        found = self.answer(tf.reduce_mean(pooled[..., 0] * step_weights, axis=1))
        return {name: found[name] for name in ("probabilities", "classes", "thresholds", "label")}


def save_small(kind: str, folder: Path) -> None:
    small, names = Small(kind), (*SIGNATURES, *(["timeline"] if kind in PARTS else []))
    tf.saved_model.save(small, str(folder), signatures={name: getattr(small, name).get_concrete_function() for name in names})


Tensors = dict[str, tf.Tensor]


def save_changed(model: str, folder: Path, change: Callable[[str, Tensors, Tensors], Tensors]) -> None:
    """A model whose answers are what `change` makes of a signature's name, its inputs and its outputs."""
    loaded = tf.saved_model.load(model)

    class Changed(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.loaded = loaded

    def changed(name, function):
        specs = {key: tf.TensorSpec(spec.shape, spec.dtype, key) for key, spec in function.structured_input_signature[1].items()}
        ask = tf.function(lambda **inputs: change(name, inputs, dict(function(**inputs))), autograph=False)
        return ask.get_concrete_function(**specs)

    signatures = {name: changed(name, function) for name, function in loaded.signatures.items()}
    tf.saved_model.save(Changed(), str(folder), signatures=signatures)


def save_swapped(model: str, folder: Path) -> None:
    """A model whose head has its classes the wrong way round."""

    def swap(_: str, __: Tensors, found: Tensors) -> Tensors:
        for name in ("probabilities", "step_probabilities"):
            if name in found:
                found[name] = tf.reverse(found[name], [-1])
        if "label" in found:
            one, two = found["classes"][0, 0], found["classes"][0, 1]
            found["label"] = tf.where(found["label"] == one, two, tf.where(found["label"] == two, one, found["label"]))
        return found

    save_changed(model, folder, swap)


def save_failing_combine(model: str, folder: Path) -> None:
    """A model that fails where the blocks of a long recording come together."""

    def fail(name: str, inputs: Tensors, found: Tensors) -> Tensors:
        if name == "combine":
            fine = tf.reduce_all(inputs["step_weights"] < 0)
            with tf.control_dependencies([tf.debugging.Assert(fine, ["out of memory"])]):
                found["probabilities"] = tf.identity(found["probabilities"])
        return found

    save_changed(model, folder, fail)


Maker = Callable[..., Path]


def push_model(folder: Path, serving: Path, push_settings: dict | None = None, **known: object) -> int:
    return push(folder, serving, _provenance(push_settings, known), keep=None).version


def place_model(folder: Path, serving: Path, push_settings: dict | None = None, **known: object) -> int:
    return place(folder, serving, _provenance(push_settings, known)).version


def _provenance(push_settings: dict | None, known: dict) -> Provenance:
    return Provenance.model_validate(
        {"by": "gate", "login": "test@here", "run_id": "r", "config": {"push": push_settings or {}}, **known}
    )


def wait(condition: Callable[[], bool], seconds: float = 120) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.05)


def ask(server: Running, file: str, status: int = 200) -> str:
    """The version that answered."""
    wav = {"name": "wav", "shape": [1], "datatype": "BYTES", "parameters": {"content_type": "base64"}, "data": [file]}
    answer = server.ask("POST", "/v2/models/audio-gender/infer", {"inputs": [wav]})
    assert answer.status == status, answer.body
    return str(answer.json["model_version"]) if status == 200 else ""


def ask_until(server: Running, ended: Callable[[], bool]) -> list[str]:
    """Asks different questions until something happens; the versions that answered."""
    found = []
    for number in range(5000):
        found.append(ask(server, FILES[number % len(FILES)]))
        time.sleep(1.5 * QUIET_S)  # as clients do, in which versions are compared
        if number % 10 == 0 and ended():
            return found
    raise AssertionError("it did not happen")


def on_trial(server: Running) -> float:
    return server.figure("audio_gender_canary_version")


def answers(server: Running) -> float:
    """The version that answers where no candidate does."""
    return server.figure("audio_gender_model_version")
