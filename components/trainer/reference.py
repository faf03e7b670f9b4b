# SPDX-License-Identifier: Apache-2.0
"""What the training set is like, kept with the model: what is heard later is compared with it (docs/watching.md)."""

import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import soundfile
import tensorflow as tf

from beam_jobs.clip_store import ClipStore
from beam_jobs.examples import Clip, decode_clip, encode_clip
from components.trainer.fits import in_batches
from components.trainer.network.signatures import ServedModel
from components.watch.measured import measured_answers
from components.watch.records import CANARY, HELD_OUT, TRAIN, Record, write_reference

TRAIN_CLIPS, HELD_OUT_CLIPS = 100, 400
"""At most. Training clips show what the network was made from; drift is measured against those that it has not heard: on its own
training clips a network is surer of itself than on any others."""
CANARY_S = 10.0
"""As much of a clip: its WAV file travels with each version."""


def save_reference(model: ServedModel, clips: ClipStore, fn_args: Any) -> None:
    """Writes the reference into the exported model: measures of clips of the train and eval splits, and the canary."""
    held_out = list(_measured(model, clips.spread("eval", HELD_OUT_CLIPS), HELD_OUT))
    train = list(_measured(model, clips.spread("train", TRAIN_CLIPS), TRAIN))
    canary = [_canary(model, decode_clip(record)) for record in clips.spread("eval", 1)]
    write_reference(Path(fn_args.serving_model_dir), [*held_out, *train, *canary])


def _measured(model: ServedModel, records: Iterator[bytes], split: str) -> Iterator[Record]:
    for batch in in_batches(records):
        clips = [decode_clip(record) for record in batch]
        answers = model.serve_measured(tf.constant([_wav(clip) for clip in clips]))
        for clip, found in zip(clips, measured_answers(answers), strict=True):
            yield Record(path=split, name=clip.id, truth=clip.label, **found)


def _canary(model: ServedModel, clip: Clip) -> Record:
    """A clip, and what the network says of it in training, before its export, by way of the record that training reads."""
    clip = dataclasses.replace(clip, pcm16=clip.pcm16[: round(CANARY_S * clip.sample_rate_hz)], speech_mask=None)
    (answer,) = measured_answers(model.measure_example(encode_clip(clip)))
    return Record(path=CANARY, name=clip.id, truth=clip.label, audio=_wav(clip), **answer)


def _wav(clip: Clip) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, clip.pcm16, clip.sample_rate_hz, format="WAV", subtype="PCM_16")
    return file.getvalue()
