# SPDX-License-Identifier: Apache-2.0
"""A model of a serving folder, and what it says about recordings. The SavedModel decides all of it; here is what feeds it."""

import copy
import io
import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, Any

import numpy as np
import soundfile
import tensorflow as tf

from beam_jobs.audio import AudioError
from beam_jobs.audio_stream import AudioStream, open_audio
from beam_jobs.command_line import command
from beam_jobs.errors import UserError
from beam_jobs.mixing import Samples
from components.decision_rule import thresholds_of
from components.inference.answers import (
    NO_SPEECH,
    STEP_S,
    Prediction,
    Timeline,
    find_segments,
    label_of,
    total_by_label,
)
from components.inference.blocks import BLOCK_S, in_blocks
from components.pusher.serving_folder import versions

BAND = 0.1
"""A label needs a probability of 0.6: the model is calibrated, so of what lies below, four in ten or more are wrong."""

AS_LONG_AS_IT_TAKES: AbstractContextManager[None] = nullcontext()

Answer = dict[str, Any]
"""One row of what a signature gives."""

Audio = str | os.PathLike[str] | IO[bytes]


def load_model(
    folder: str | os.PathLike[str], band: float = BAND, first_answer: AbstractContextManager[None] = AS_LONG_AS_IT_TAKES
) -> "Model":
    """Loads a model.

    Args:
        folder: a serving folder, of which the newest version is taken, or the folder of one version.
        band: a recording is "uncertain" if its class leads the next by less than twice this (`label_of`); with two classes
            and even thresholds: if its probability is below 0.5 + `band`. 0 for never.
        first_answer: around the question that is put to the model once it is read, such as a deadline.

    Raises:
        UserError: there is no model in it, or none that this can use.
        TimeoutError: of `first_answer`.

    >>> model = load_model("work/serving")
    >>> model.classes
    ('male', 'female')
    """
    path = Path(folder)
    if not (path / "saved_model.pb").is_file():
        found = versions(path)
        if not found:
            raise UserError(f"{path}: holds no model yet; `{command('run', '--config', 'demo')}` trains one and pushes it there")
        path = path / str(found[-1])
    try:
        return Model(path, band, first_answer)
    except TimeoutError:
        raise
    except (OSError, RuntimeError, ValueError, tf.errors.OpError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)[:200]
        raise UserError(f"{path}: the model cannot be loaded ({reason})") from None


class Model:
    """A loaded model. Several threads may use it at once.

    Attributes:
        folder: of its version.
        version: that folder's name.
        band: as in `load_model`.
        classes: in the order of the model's probabilities.
        thresholds: its decision thresholds, one per class.
        sample_rate_hz: what it was trained on; recordings may have any.
    """

    def __init__(
        self, folder: Path, band: float = BAND, first_answer: AbstractContextManager[None] = AS_LONG_AS_IT_TAKES
    ) -> None:
        self.folder, self.version, self.band = folder, folder.name, band
        self._signatures = tf.saved_model.load(str(folder)).signatures
        missing = [name for name in ("wav", "waveform") if name not in self._signatures]
        if missing:
            raise UserError(f"{folder}: the model has no signature {missing[0]}; train and push it again")
        samples = 4000
        with first_answer:
            answer = self._signatures["waveform"](tf.zeros([1, samples]))
        if lacking := sorted({"classes", "duration_s", "probabilities", "speech"} - answer.keys()):
            raise UserError(f"{folder}: an older version exported this model (no output {lacking[0]}); train and push a new one")
        self.classes = tuple(name.decode() for name in answer["classes"].numpy()[0])
        self.thresholds = thresholds_of(self._signatures, len(self.classes))
        self.sample_rate_hz = round(samples / float(answer["duration_s"][0]))

    @property
    def signatures(self) -> Mapping[str, Any]:
        """The SavedModel's functions by name, for whoever speaks a model server's protocol."""
        return self._signatures

    def asking(self, functions: Mapping[str, Callable[..., Mapping[str, Any]]]) -> "Model":
        """The same model, with other functions in place of some of its signatures."""
        other = copy.copy(self)
        other._signatures = {**self._signatures, **functions}
        return other

    def predict(self, file: Audio, name: str | None = None) -> Prediction:
        """What a recording is: a path, or an open file with its `name`. If it cannot be read, the answer's `error` says why.

        >>> answer = load_model("work/serving").predict("voice.flac")
        >>> answer.label in ("male", "female", "uncertain", "no speech")
        True
        >>> round(sum(answer.probabilities.values()), 3)
        1.0
        """
        return self._read(file, name).prediction

    def predict_samples(self, samples: Samples, sample_rate_hz: int) -> Prediction:
        """The same for float32 [samples], mono, full scale 1.0."""
        return self._hear(_stream_of(samples, sample_rate_hz)).prediction

    def timeline(self, file: Audio, name: str | None = None, max_duration_s: float = math.inf) -> Timeline:
        """Who speaks when in a recording, from the same windows as its answer.

        Args:
            file: as for `predict`.
            name: as for `predict`.
            max_duration_s: a recording that turns out to be longer is an error.

        Raises:
            UserError: the model was exported before there were timelines.

        >>> timeline = load_model("work/serving").timeline("voice.flac")
        >>> all(segment.start_s < segment.end_s <= 2.0 for segment in timeline.segments)
        True
        """
        self.check_timeline()
        return self._read(file, name, max_duration_s)

    def timeline_samples(self, samples: Samples, sample_rate_hz: int) -> Timeline:
        """The same for float32 [samples], mono, full scale 1.0."""
        self.check_timeline()
        return self._hear(_stream_of(samples, sample_rate_hz))

    def check_timeline(self) -> None:
        """Makes sure that the model gives timelines.

        Raises:
            UserError: it is too old for that.
        """
        if "timeline" not in self._signatures:
            raise UserError(f"{self.folder}: this model is too old to have a signature `timeline`; train and push a new one")

    def _read(self, file: Audio, name: str | None, max_duration_s: float = math.inf) -> Timeline:
        source = os.fspath(file) if isinstance(file, str | os.PathLike) else file
        try:
            with open_audio(source, name) as stream:
                # A minute at a rate that the model refuses could be gigabytes: it is asked before anything is decoded.
                if error := self.ask("wav", np.zeros(1, np.float32), stream.sample_rate_hz)["error"]:
                    return self._failed(error.decode())
                return self._hear(_at_most(stream, max_duration_s))
        except AudioError as error:
            return self._failed(str(error))

    def _hear(self, stream: AudioStream) -> Timeline:
        """Hears a recording block by block.

        One of at most `BLOCK_S` and a little is one block, and its answer is that of the signature `wav`. Of a longer one, each
        block is heard with `CONTEXT_S` on either side and judged as a recording of its own: whether there is speech, and what is
        too quiet beside its loud parts. The answer then comes of the steps of the blocks with speech, pooled by the signature
        `combine` with the weights and the rule by which each block's windows are.
        """
        if "timeline" not in self._signatures:
            return self._hear_whole(stream)
        heard, duration_s = [], 0.0
        for block in in_blocks(stream):
            answer = self.ask("timeline", block.samples, stream.sample_rate_hz)
            duration_s = block.start_s + len(block.samples) / stream.sample_rate_hz
            if answer["error"]:
                return self._failed(answer["error"].decode(), duration_s)
            heard.append(answer | {name: answer[name][block.steps] for name in answer if name.startswith("step_")})
        if not heard:
            return self._failed("holds no samples")
        prediction = self._prediction(heard[0] if len(heard) == 1 else self._combined(heard, duration_s), duration_s)
        probabilities, speech = (np.concatenate([part[name] for part in heard]) for name in ("step_probabilities", "step_speech"))
        segments = find_segments(probabilities, speech, duration_s, self.classes, self.thresholds, self.band)
        return Timeline(prediction, segments, total_by_label(segments, self.classes))

    def _hear_whole(self, stream: AudioStream) -> Timeline:
        blocks = []
        while len(block := stream.read(BLOCK_S * stream.sample_rate_hz)):
            blocks.append(block)
        if not blocks:
            return self._failed("holds no samples")
        samples = np.concatenate(blocks)
        answer = self.ask("wav", samples, stream.sample_rate_hz)
        if answer["error"]:
            return self._failed(answer["error"].decode(), float(answer["duration_s"]))
        return Timeline(self._prediction(answer, float(answer["duration_s"])), (), {})

    def _combined(self, heard: Sequence[Answer], duration_s: float) -> Answer:
        with_speech = [part for part in heard if part["speech"] > 0]
        if not with_speech:
            return heard[0]
        pooled, weights, speech = (
            np.concatenate([part[name] for part in with_speech]) for name in ("step_pooled", "step_weights", "step_speech")
        )
        answer = self._signatures["combine"](
            step_pooled=tf.constant(pooled[np.newaxis]), step_weights=tf.constant(weights[np.newaxis])
        )
        # The last step may be shorter than the others.
        share = min(float(speech.sum()) * STEP_S / duration_s, 1.0)
        return {"probabilities": answer["probabilities"].numpy()[0], "speech": share}

    def warm_up(self) -> None:
        """Asks for some seconds of noise: TensorFlow takes a while for its first answer, and not for those that follow."""
        self.timeline_samples(np.random.default_rng(0).random(5 * self.sample_rate_hz, np.float32), self.sample_rate_hz)

    def ask(self, signature: str, samples: Samples, sample_rate_hz: int) -> Answer:
        """What the signature `wav` or `timeline` gives for float32 [samples]: its outputs without the batch dimension."""
        file = io.BytesIO()
        soundfile.write(file, samples, sample_rate_hz, format="WAV", subtype="FLOAT")
        answer = self._signatures[signature](wav=tf.constant([file.getvalue()]))
        return {name: value.numpy()[0] for name, value in answer.items()}

    def _prediction(self, answer: Answer, duration_s: float) -> Prediction:
        label = self.label(answer["probabilities"]) if answer["speech"] > 0 else NO_SPEECH
        return Prediction(label, self._named(answer["probabilities"]), float(answer["speech"]), duration_s)

    def label(self, probabilities: np.ndarray) -> str:
        """The label of speech with these probabilities, float [classes]: a class or "uncertain"."""
        return label_of(probabilities, self.classes, self.thresholds, self.band)

    def _failed(self, error: str, duration_s: float = 0.0) -> Timeline:
        uniform = np.full(len(self.classes), 1 / len(self.classes))
        return Timeline(Prediction("", self._named(uniform), 0.0, duration_s, error), (), total_by_label((), self.classes))

    def _named(self, probabilities: np.ndarray) -> dict[str, float]:
        return dict(zip(self.classes, map(float, probabilities), strict=True))


def _at_most(stream: AudioStream, max_duration_s: float) -> AudioStream:
    """The same, refused where it goes on for too long."""
    left = max_duration_s * stream.sample_rate_hz

    def read(number: int) -> Samples:
        nonlocal left
        samples = stream.read(number)
        left -= len(samples)
        if left < 0:
            raise AudioError(f"longer than {max_duration_s:g} s")
        return samples

    return AudioStream(stream.sample_rate_hz, read)


def _stream_of(samples: Samples, sample_rate_hz: int) -> AudioStream:
    position = 0

    def read(number: int) -> Samples:
        nonlocal position
        position += number
        return samples[position - number : position]

    return AudioStream(sample_rate_hz, read)
