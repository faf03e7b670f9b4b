# SPDX-License-Identifier: Apache-2.0
"""What `watch` found: a JSON file, and what the page and the metrics are made from."""

from typing import Literal

from pydantic import BaseModel, computed_field

from components.alarm import Alarm
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
        retraining: what `--retrain` did about an alarm, or why it did nothing; empty where it was not asked to.
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
    retraining: str = ""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def status(self) -> Literal["alarm", "quiet", "too few requests"]:
        """The answer in a word or three."""
        if self.reasons:
            return "alarm"
        return "quiet" if self.judged else "too few requests"

    @property
    def cause(self) -> Alarm | None:
        """The alarm that a retraining can answer; None where there is none.

        Skew is none: there the server is at fault, and not what the model learned from.
        """
        values = {item.name: item.distance for item in self.drift if item.alarm}
        if self.accuracy and self.accuracy.alarm:
            values["expected accuracy"] = self.accuracy.value
        if not values:
            return None
        return Alarm(
            version=self.version,
            since=self.since,
            until=self.until,
            requests=self.with_speech,
            reasons=self.reasons,
            values=values,
        )
