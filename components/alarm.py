# SPDX-License-Identifier: Apache-2.0
"""Why a model was retrained: the alarm of `audio-gender watch` that the run answers."""

from pydantic import BaseModel


class Alarm(BaseModel):
    """What `watch` found in the requests to one version, between two times in UTC (ISO 8601).

    `reasons` are its sentences; `values` are the measures that raised the alarm: distances from the reference by measure, as
    `components.watch.drift` names them, and the expected accuracy.
    """

    version: int
    since: str
    until: str
    requests: int
    reasons: list[str]
    values: dict[str, float]

    @property
    def text(self) -> str:
        """For people, in one line."""
        return (
            f"watch, {self.since[:10]} to {self.until[:10]}, {self.requests:,} requests with speech to version {self.version}: "
            f"{'; '.join(self.reasons)}"
        )


def alarm_of(text: str | None) -> Alarm | None:
    """What a run was told of it, as JSON; None where that is nothing: a person started it."""
    return Alarm.model_validate_json(text) if text else None
