# SPDX-License-Identifier: Apache-2.0
"""What is fitted to a trained network on the eval split, whose speakers training has not heard, before its export."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from beam_jobs.clip_store import ClipStore
from beam_jobs.console import say
from beam_jobs.examples import decode_clip
from components.trainer.model_run import save_operating_point
from components.trainer.monitoring.logs import log_line
from components.trainer.network.inference import Inference
from components.trainer.network.pooling import PoolingFit
from components.trainer.network.pooling_fit import fit_to_clips
from components.trainer.network.signatures import ServedModel
from components.trainer.network.threshold_fit import choose_thresholds
from components.trainer.spec import TrainingSpec

FITTED_CLIPS = 200
"""On which the pooling is fitted."""
JUDGED_CLIPS = 1000
"""On which decision thresholds are chosen."""
CLIPS_AT_A_TIME = 16


def fit_pooling_on_eval(inference: Inference, clips: ClipStore, fn_args: Any, spec: TrainingSpec) -> PoolingFit:
    """Fits what the class `mixed` is pooled with, and says what it came to."""
    fit, count = fit_to_clips(inference, clips.spread("eval", FITTED_CLIPS), spec.sample_rate_hz)
    line = f"mixed: presence scale {fit.scale:.2f}, bias {fit.bias:.2f}, fitted to {count} eval clips"
    say(line)
    log_line(Path(fn_args.model_run_dir), line)
    return fit


def choose_thresholds_on_eval(model: ServedModel, clips: ClipStore, fn_args: Any, spec: TrainingSpec) -> None:
    """Chooses decision thresholds and writes them down for the report; where the settings say so, the model decides by them."""
    labels, speakers, probabilities = [], [], []
    for batch in in_batches(clips.spread("eval", JUDGED_CLIPS)):
        answers = model.serve_examples(tf.constant(batch))
        for record, row, speech in zip(batch, answers["probabilities"].numpy(), answers["speech"].numpy(), strict=True):
            # Where there is no speech, no threshold makes a label.
            if speech > 0 and np.isfinite(row).all():
                clip = decode_clip(record)
                labels.append(clip.label)
                speakers.append(clip.speaker_ids)
                probabilities.append(row)
    if not labels:
        return
    point = choose_thresholds(np.array(labels), np.array(probabilities), speakers)
    point.used = spec.decision_threshold == "eval"
    if point.used:
        model.decide_by(point.chosen)
    save_operating_point(point, fn_args.model_run_dir)
    of_classes = ", ".join(
        f"{name} {value:.2f} [{low:.2f}-{high:.2f}]"
        for name, value, low, high in zip(spec.classes, point.chosen, point.low, point.high, strict=True)
    )
    doubt = "" if point.clear() else ", no clear difference from even ones"
    use = "used" if point.used else "not used (serving.decision_threshold is argmax)"
    line = f"decision thresholds on {len(labels)} eval clips of {point.speakers} speakers: {of_classes}{doubt}; {use}"
    if point.used:
        say(line)
    log_line(Path(fn_args.model_run_dir), line)


def in_batches(records: Iterator[bytes]) -> Iterator[list[bytes]]:
    """So many at a time that their audio is no burden."""
    while batch := list(itertools.islice(records, CLIPS_AT_A_TIME)):
        yield batch
