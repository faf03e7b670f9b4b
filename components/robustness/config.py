# SPDX-License-Identifier: Apache-2.0
"""What a candidate is asked about besides the clean test clips."""

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from beam_jobs.config import Share, Strict

Degradation = Literal[
    "shout", "low_voice", "room", "telephone", "opus", "babble", "pink_noise", "clipped", "low_pass", "far"
]  # fmt: skip
Strength = Literal[1, 2, 3]

NAMES: tuple[Degradation, ...] = get_args(Degradation)
STRENGTHS: tuple[Strength, ...] = get_args(Strength)
DESCRIPTIONS: dict[Degradation, str] = {
    "shout": "pitch times 1.4, 1.75, 2.1 (\u00b1 10 %), formants up 2, 5, 8 %, 2, 4, 6 dB an octave brighter above 500 Hz",
    "low_voice": "pitch times 0.85, 0.75, 0.65 (\u00b1 5 %), formants down 1, 2, 4 %, 1, 2, 3 dB an octave darker",
    "room": "a reverberation time of 0.3, 0.6, 1.0 s, heard from 1, 2, 3.5 m",
    "telephone": "GSM 6.10 at 8 kHz in 300 to 3,400 Hz, coded once, twice, four times over",
    "opus": "Opus at 16, 10, 6 kbit/s",
    "babble": "eight other voices, together 15, 8, 2 dB below",
    "pink_noise": "noise of \u22123 dB an octave, 15, 8, 2 dB below",
    "clipped": "the loudest 5, 15, 30 % of the samples cut off",
    "low_pass": "nothing above 3,400, 2,400, 1,600 Hz nor below 300 Hz",
    "far": "at \u221230, \u221240, \u221250 dBFS through a converter of 10 bits, whose noise is 30, 20, 10 dB below",
}
"""What is done at the strengths 1, 2 and 3."""


class RobustnessConfig(Strict):
    """Which degradations are measured, how strong, and on how many test clips."""

    degradations: Annotated[list[Degradation], Field(min_length=1)] = list(NAMES)
    """Which degradations to measure."""
    strengths: Annotated[list[Strength], Field(min_length=1)] = list(STRENGTHS)
    """Which strengths of each."""
    num_clips: Annotated[int, Field(ge=1, le=10_000)] = 60
    """Test clips to degrade, chosen so that each speaker is heard about equally often."""

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        named: tuple[tuple[str, list[str | int]], ...] = (
            ("degradations", [*self.degradations]),
            ("strengths", [*self.strengths]),
        )
        for key, values in named:
            if twice := [value for value in dict.fromkeys(values) if values.count(value) > 1]:
                raise ValueError(f"{key} names {twice[0]} more than once")
        return self


class RobustnessThresholds(Strict):
    """Thresholds on one degradation, at each measured strength up to `max_strength`; null for one that is not checked."""

    min_accuracy: Share | None = None
    """Lowest accuracy."""
    max_ece: Share | None = None
    """Highest expected calibration error."""
    max_strength: Strength = 3
    """The thresholds hold at each measured strength up to this one."""

    @model_validator(mode="after")
    def _any(self) -> Self:
        if self.min_accuracy is None and self.max_ece is None:
            raise ValueError("holds no threshold; give min_accuracy or max_ece")
        return self
