# SPDX-License-Identifier: Apache-2.0
"""Clips to hear and to see: the surest mistakes, and those of speakers whose label is doubted."""

from typing import Any

import numpy as np

from beam_jobs.examples import Clip
from beam_jobs.html_pages import player_source, waveform_and_mel_spectrogram
from beam_jobs.mixing import Samples
from beam_jobs.visible import readable
from components.review_report.inputs import ReportInputs, mistakes, suspects_heard

MAX_MEDIA_BYTES = 3_300_000
"""Of the mistakes' players and pictures together. The players of suspects need up to 1 MB, the rest of the page some 400 kB."""
CLIP_S = 20.0
"""How much of a clip is played and drawn."""
SUSPECT_S = 6.0
"""How much of a clip is played to hear whose voice it is."""


def cards_of(inputs: ReportInputs) -> list[dict[str, Any]]:
    """The worst clips, as many as fit."""
    predictions, classes = inputs.predictions, inputs.gate.classes
    position = {clip_id: k for k, clip_id in enumerate(predictions.ids)}
    predicted = predictions.predicted()
    cards: list[dict[str, Any]] = []
    size = 0
    for clip_id in mistakes(predictions):
        k = position[clip_id]
        label = int(predictions.labels[k])
        media = _media(inputs.clips.get(clip_id))
        size += sum(len(value) for value in media.values() if isinstance(value, str))
        if size > MAX_MEDIA_BYTES:
            break
        cards.append(
            {
                "id": clip_id,
                "label": classes[label],
                "predicted": classes[predicted[k]] if predicted[k] >= 0 else "no class",
                "score": float(predictions.candidate[k, label]),
                "baseline_score": None if predictions.baseline is None else float(predictions.baseline[k, label]),
                "speakers": list(dict.fromkeys(predictions.speaker_ids[k])),
                "utterances": [readable(name) for name in predictions.utterance_ids[k]],
                "mode": predictions.modes[k],
                "rms_dbfs": float(predictions.rms_dbfs[k]),
                "speech_ratio": float(predictions.speech_ratio[k]),
                **media,
            }
        )
    return cards


def suspect_cards(inputs: ReportInputs) -> list[dict[str, Any]]:
    """Speakers whose annotation is to be checked, each with some clips; players only, for the ear decides."""
    return [
        {
            "suspect": suspect,
            "clips": [{"id": clip_id, "player": _player(inputs.clips.get(clip_id))} for clip_id in ids],
        }
        for suspect, ids in suspects_heard(inputs.predictions, inputs.gate.classes)
    ]


def _player(clip: Clip | None) -> str | None:
    return None if clip is None else player_source(_first_samples(clip, SUSPECT_S), clip.sample_rate_hz)


def _first_samples(clip: Clip, seconds: float) -> Samples:
    samples: Samples = clip.pcm16[: round(seconds * clip.sample_rate_hz)].astype(np.float32) / np.float32(32768)
    return samples


def _media(clip: Clip | None) -> dict[str, Any]:
    if clip is None:
        return {"player": None, "picture": None, "shown_s": None, "duration_s": None}
    rate_hz, samples = clip.sample_rate_hz, _first_samples(clip, CLIP_S)
    return {
        "player": player_source(samples, rate_hz),
        "picture": waveform_and_mel_spectrogram(samples, rate_hz),
        "shown_s": len(samples) / rate_hz,
        "duration_s": len(clip.pcm16) / rate_hz,
    }
