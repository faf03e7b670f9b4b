# SPDX-License-Identifier: Apache-2.0
"""What `watch` found: a JSON file, and what the page and the metrics are made from."""

from typing import Literal

from pydantic import BaseModel, computed_field

from components.pusher.trials import Decision
from components.watch.accuracy import ExpectedAccuracy
from components.watch.drift import Drift


class Skew(BaseModel):
    """The greatest difference between what the training and the server heard of the canary, in `asked` answers."""

    value: float
    threshold: float | None
    asked: int
    alarm: bool


class Day(BaseModel):
    """A day, UTC: how many requests, of which how many with speech, and means of the measures of those."""

    date: str
    requests: int
    with_speech: int
    errors: int
    means: dict[str, float]


class Unlike(BaseModel):
    """A request, and how far its embedding is from the nearest training clip's, in the median of such distances there."""

    time: str
    path: str
    label: str
    probability: float
    duration_s: float
    distance: float


class WatchResult(BaseModel):
    """Of one version and one stretch of time. Times are ISO 8601 in UTC.

    Attributes:
        judged: whether there were requests enough to say anything.
        reasons: of an alarm, a line each, the most telling first; none where there is no alarm.
        notes: what is wrong with the log, a line each.
        requests, with_speech, errors: all of the window.
        sample: requests that the tests and the page are made from.
        reference: clips with speech that they are compared with.
        trials: what became of candidates and versions that a server decided about in this time, the newest first.
    """

    version: int
    model_digest: str
    since: str
    until: str
    judged: bool
    requests: int
    with_speech: int
    errors: int
    sample: int
    reference: int
    reasons: list[str] = []
    notes: list[str] = []
    drift: list[Drift] = []
    accuracy: ExpectedAccuracy | None = None
    skew: Skew | None = None
    days: list[Day] = []
    unlike: list[Unlike] = []
    trials: list[Decision] = []

    @computed_field  # type: ignore[prop-decorator]
    @property
    def status(self) -> Literal["alarm", "quiet", "too few requests"]:
        """The answer in a word or three."""
        if self.reasons:
            return "alarm"
        return "quiet" if self.judged else "too few requests"
