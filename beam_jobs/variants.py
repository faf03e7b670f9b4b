# SPDX-License-Identifier: Apache-2.0
"""Settings of what is changed in training clips alone: `clips.train_voice` and `clips.train_channel`.

The defaults are the recipe of docs/decisions/0005-network-trials.md; what they do to the sound: `voice.py` and `channel.py`.
"""

from typing import Annotated, Self

from pydantic import Field, model_validator

from beam_jobs.labels import ANY_VOICE_PITCH_HZ, VOICE_PITCH_HZ
from beam_jobs.sections import Range, Share, Strict


class PitchRange(Strict):
    """Median pitches of one label's voices, drawn evenly on a logarithmic scale."""

    min: Annotated[float, Field(ge=60, le=800)]
    """Lowest median pitch in Hz."""
    max: Annotated[float, Field(ge=60, le=800)]
    """Highest median pitch in Hz."""
    effort_hz: float | None = None
    """Where a voice begins to sound raised: pitches above it are drawn `effort_weight` times as often."""
    effort_weight: Annotated[float, Field(gt=0, le=100)] = 1.0
    """How much more often pitches above `effort_hz` are drawn."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min {self.min:g} is greater than max {self.max:g}")
        if self.effort_hz is None and self.effort_weight != 1:
            raise ValueError(f"effort_weight {self.effort_weight:g} needs effort_hz, the pitch above which it holds")
        return self


class TrainVoice(Strict):
    """Voices of training clips whose pitch, intonation, formants and spectral tilt are changed."""

    share: Share = 0.7
    """Share of the voices that are changed."""
    pitch_hz: dict[str, PitchRange] = {}
    """Median pitches by label (`min`, `max`, `effort_hz`, `effort_weight`); a label that is left out keeps its default."""
    intonation: Range = Range(min=0.7, max=1.8)
    """Factor on the pitch's distance from its median, in octaves."""
    formants: Range = Range(min=0.94, max=1.06)
    """Factor on all formants, drawn evenly on a logarithmic scale."""
    first_formant: Range = Range(min=-0.1, max=0.3)
    """How much higher the first formant is moved, as a share of it; a draw below 0 leaves it unchanged."""
    tilt_db_per_octave: Range = Range(min=-3.0, max=7.0)
    """Added to the spectrum from 400 Hz up; above 0 sounds like loud speech."""
    effort_share: Share = 2 / 3
    """Of the changed voices, the share whose first formant and tilt follow the pitch, as vocal effort moves them."""
    own_pitch_share: Share = 0.5
    """Share of the voices of `effort_share` that are raised from the speaker's own pitch; the others draw from `pitch_hz`."""

    def pitch_of(self, label: str) -> PitchRange:
        """The pitches of a label's voices."""
        return self.pitch_hz.get(label) or PitchRange.model_validate(VOICE_PITCH_HZ.get(label, ANY_VOICE_PITCH_HZ))

    @model_validator(mode="after")
    def _possible(self) -> Self:
        self.intonation.check_within(0, 4, "intonation")
        self.formants.check_within(0.5, 2, "formants")
        self.first_formant.check_within(-1, 1, "first_formant")
        self.tilt_db_per_octave.check_within(-12, 12, "tilt_db_per_octave")
        return self


class TrainChannel(Strict):
    """Voices of training clips that come out of a room, a clipping amplifier or a codec."""

    share: Share = 0.5
    """Share of the voices that go through a channel; the other shares are of these."""
    room_share: Share = 0.6
    """Share played in a simulated room."""
    clipping_share: Share = 0.3
    """Share clipped by an amplifier."""
    mp3_share: Share = 0.3
    """Share coded as MP3."""
    mu_law_share: Share = 0.15
    """Share coded as mu-law; with `mp3_share` at most 1."""
    rt60_s: Range = Range(min=0.1, max=0.9)
    """Reverberation time of a room, drawn evenly on a logarithmic scale."""
    direct_to_reverberant_db: Range = Range(min=-3.0, max=15.0)
    """Direct sound over reverberation."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.mp3_share + self.mu_law_share > 1:
            raise ValueError(f"mp3_share and mu_law_share add up to {self.mp3_share + self.mu_law_share:g}, more than 1")
        self.rt60_s.check_within(0.02, 10, "rt60_s")
        self.direct_to_reverberant_db.check_within(-60, 60, "direct_to_reverberant_db")
        return self
