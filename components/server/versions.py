# SPDX-License-Identifier: Apache-2.0
"""Which version of the model answers: the newest of the serving folder that works, taken up while requests go on."""

import gc
import io
import logging
import threading
import wave
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.json_format import MessageToDict
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from beam_jobs.command_line import command
from beam_jobs.errors import UserError
from beam_jobs.folders import files_below
from components.inference import Model, load_model
from components.model_digest import model_digest
from components.pusher.serving_folder import read_provenance, versions
from components.server.deadline import deadline
from components.server.metrics import Metrics
from components.server.tensors import TensorSpec, checked_inputs
from components.signing import check_public_key, verify

log = logging.getLogger(__name__)

WARM_UP_S = 120.0
"""In which a version must have answered its first requests, which take seconds."""

Functions = Mapping[str, Callable[..., Mapping[str, Any]]]
NOTHING_ELSE: Functions = MappingProxyType({})


class DamagedError(UserError):
    """A version whose files are not those that were pushed: no fault of its model."""


@dataclass(frozen=True)
class Signature:
    """One way to ask the model."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    function: Callable[..., Mapping[str, Any]]

    @classmethod
    def of(cls, function: Any) -> "Signature":
        """From a SavedModel's."""
        inputs = {name: TensorSpec.of(name, spec) for name, spec in function.structured_input_signature[1].items()}
        outputs = {name: TensorSpec.of(name, spec) for name, spec in function.structured_outputs.items()}
        return cls(inputs, outputs, function)

    def __call__(self, given: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The outputs by name.

        Raises:
            RequestError: the inputs are not this signature's.
        """
        inputs = checked_inputs(self.inputs, given)
        return {name: value.numpy() for name, value in self.function(**{k: tf.constant(v) for k, v in inputs.items()}).items()}


@dataclass(frozen=True)
class ServedVersion:
    """A version in memory; whoever answers a request holds on to it, and after the last one it is freed."""

    version: int
    model: Model
    signatures: Mapping[str, Signature]
    definition: Mapping[str, Any]
    """What the SavedModel says of its signatures, as TensorFlow Serving shows it."""

    def asking(self, functions: Functions, aside: Functions = NOTHING_ELSE) -> "ServedVersion":
        """A copy of which some signatures are asked by other functions.

        Args:
            functions: by signature, for what a client asks; a recording is analysed by `timeline`.
            aside: for what the analysis of a recording asks besides.
        """
        signatures = {name: replace(self.signatures[name], function=function) for name, function in functions.items()}
        analysing = {name: function for name, function in functions.items() if name == "timeline"}
        model = self.model.asking({**analysing, **aside})
        return replace(self, model=model, signatures={**self.signatures, **signatures})

    @classmethod
    def load(cls, folder: Path, public_key: Path | None = None) -> "ServedVersion":
        """Loads a version, signed with the key where one is given, and lets each of the SavedModel's signatures answer once.

        Raises:
            Exception: of whatever kind, where the model is damaged.
        """
        provenance = read_provenance(folder.parent, int(folder.name))
        if provenance and provenance.model_digest and provenance.model_digest != model_digest(folder):
            raise DamagedError("its files are not those that were pushed")
        if public_key:
            verify(folder, public_key)
        # Reading the files has no limit: on a slow disk that is no fault of the model.
        model = load_model(folder, first_answer=deadline(WARM_UP_S))
        signatures = {name: Signature.of(function) for name, function in model.signatures.items()}
        definition = MessageToDict(
            SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs[0], preserving_proto_field_name=True
        )
        loaded = cls(int(folder.name), model, signatures, definition["signature_def"])
        with deadline(WARM_UP_S):
            loaded.warm_up()
        return loaded

    def warm_up(self) -> None:
        """The first answer of a signature takes seconds: not a client's."""
        samples = np.sin(np.arange(16_000) * 0.05, dtype=np.float32)[None] * 0.1
        file = io.BytesIO()
        with wave.open(file, "wb") as out:
            out.setparams((1, 2, 16_000, 0, "NONE", ""))
            out.writeframes((samples * 32767).astype("<i2").tobytes())
        questions: dict[str, dict[str, Any]] = {
            "wav": {"wav": [file.getvalue()]},
            **({"measured": {"wav": [file.getvalue()]}} if "measured" in self.signatures else {}),
            "waveform": {"waveform": samples},
            "waveforms": {"waveform": samples, "lengths": [samples.shape[1]]},
            "serving_default": {"examples": [b""]},
        }
        for name, question in questions.items():
            if name not in self.signatures:
                raise ValueError(f"has no signature {name}")
            answer = self.signatures[name](question)["probabilities"]
            if not np.isfinite(answer).all():
                raise ValueError(f"signature {name} answers with NaN or infinity")
        if "timeline" in self.signatures:
            self.model.timeline(io.BytesIO(questions["wav"]["wav"][0]), "warm-up.wav")


class Versions:
    """The version that answers, and the watch over the serving folder that changes it."""

    def __init__(self, serving: Path, poll_s: float, metrics: Metrics, public_key: Path | None = None) -> None:
        """Loads the newest version that works.

        Raises:
            UserError: there is none, or the key cannot be used.
        """
        if public_key:
            check_public_key(public_key)
        self.serving, self.poll_s, self.metrics, self.public_key = serving, poll_s, metrics, public_key
        self._refused: dict[int, Any] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch the serving folder", daemon=True)
        there = versions(serving)
        if not there:
            train = command("run", "--config", "demo")
            raise UserError(f"{serving}: holds no version of a model; `{train}` trains and pushes one, or give another folder")
        found = self._newest_that_works(there, None)
        if found is None:
            raise UserError(f"{serving}: none of its versions ({', '.join(map(str, there))}) can be loaded; see the lines above")
        self._take(found)

    @property
    def current(self) -> ServedVersion:
        """What answers now."""
        return self._current

    def start(self) -> None:
        """Begins to watch the folder."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the watch."""
        self._stop.set()

    def look(self) -> None:
        """Takes up the newest version that works, where that is another than the current one."""
        # A folder without any version, as one is while it is moved, is no reason to stop answering.
        found = self._newest_that_works(versions(self.serving), self._current.version)
        if found is not None:
            self._found(found)
            del found
            gc.collect()  # a SavedModel's objects refer to each other

    def _found(self, version: ServedVersion) -> None:
        """A new version that works."""
        self._take(version)

    def _watch(self) -> None:
        while not self._stop.wait(self.poll_s):
            try:
                self.look()
            except Exception:  # whatever it is, the present version goes on answering
                log.exception("cannot look at %s", self.serving)

    def _newest_that_works(self, there: list[int], current: int | None) -> ServedVersion | None:
        """None where that is the current one, or there is none."""
        for version in reversed(there):
            if version == current:
                return None
            folder = self.serving / str(version)
            # One that was copied by hand is seen before it is whole: it is tried again when its files change.
            state = state_of(folder)
            if self._refused.get(version) == state:
                continue
            try:
                return ServedVersion.load(folder, self.public_key)
            except Exception as error:
                self._refused[version] = state
                self.metrics.refused.inc()
                reason = " ".join(str(error).split()) or type(error).__name__
                log.error("version %d is refused: %s", version, reason[:300])
        return None

    def _take(self, version: ServedVersion) -> None:
        weakref.finalize(version, log.info, "version %d is unloaded", version.version)
        self._current = version
        self.metrics.version.set(version.version)
        self.metrics.taken_up.inc()
        log.info("version %d answers", version.version)


def state_of(folder: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times of a version's files."""
    found = []
    # What is removed while we look is not there; what cannot be read, a load says.
    for name in files_below(folder, problem=lambda error: None):
        try:
            status = (folder / name).stat()
        except OSError:
            continue
        found.append((name, status.st_size, status.st_mtime_ns))
    return found
