# SPDX-License-Identifier: Apache-2.0
"""`watch`, from a log and a serving folder to a result."""

import datetime
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.distance import cdist

from beam_jobs.errors import UserError
from components.model_digest import model_digest
from components.pusher.serving_folder import read_provenance, version_folder, versions
from components.pusher.trials import read_decisions
from components.watch.accuracy import ExpectedAccuracy, expect_accuracy
from components.watch.config import WatchConfig
from components.watch.drift import Drift, measure_drift
from components.watch.job import Heard, Window, hear, log_files
from components.watch.measures import confidence
from components.watch.records import CANARY, HELD_OUT, TRAIN, Record, read_reference
from components.watch.result import Day, Skew, Unlike, WatchResult
from components.watch.skew import skew

NUM_UNLIKE = 12
NAMES = {
    "duration_s": "duration",
    "speech": "share of speech",
    "level_dbfs": "level",
    "clipping": "clipping",
    "band_hz": "upper end of the band",
    "confidence": "probability of the label",
    "label": "labels",
    "embedding": "embedding",
}
"""Of measures, for people."""


@dataclass(frozen=True)
class Watched:
    """A result, and the records that a page shows more of."""

    result: WatchResult
    requests: Sequence[Record]
    reference: Sequence[Record]
    unlike: Sequence[Record]


def check(
    serving: Path,
    log: Path,
    since_s: float,
    version: str | None,
    config: WatchConfig,
    beam_options: Sequence[str],
    folder: str,
    until_s: float | None = None,
) -> Watched:
    """Compares what a server was asked with the reference of its model.

    Args:
        serving: the serving folder.
        log: what `serve --log` wrote.
        since_s: seconds since 1970.
        version: which; None for the one that answers.
        config: what is an alarm.
        beam_options: Beam's.
        folder: for what the Beam job makes.
        until_s: seconds since 1970; None for now.

    Raises:
        UserError: no such log or version, its model has no reference, or Beam options that `hear` refuses.
    """
    there = versions(serving)
    if not there:
        raise UserError(f"{serving}: no version is in serving; there is nothing to watch")
    number = int(version_folder(serving, version or str(there[-1])).name)
    model = serving / str(number)
    known = read_reference(model)
    held_out = [record for record in known if record.path == HELD_OUT and record.measured]
    if len(held_out) < 2:
        raise UserError(f"{model}: its reference holds no clips with speech; train a model on clips of speech")
    window = Window(_versions_of(serving, number, there), since_s, time.time() if until_s is None else until_s)
    try:
        files = log_files(log, window)
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise UserError(f"{log}: {error.strerror}; give the folder of `serve --log`") from None
    heard = hear(files, window, folder, beam_options)
    sums = heard.sums
    requests, with_speech = int(sums.get("requests", 0)), int(sums.get("with speech", 0))
    judged = with_speech >= config.min_requests
    drift: list[Drift] = []
    accuracy = None
    if judged and heard.statistics is not None:
        drift = measure_drift(heard.sample, heard.statistics, held_out, config)
        mean, variance = sums["sum of confidence"] / with_speech, sums["variance"] / with_speech
        accuracy = expect_accuracy(mean, variance, with_speech, held_out)
        limit = config.max_accuracy_drop
        accuracy.alarm = limit is not None and accuracy.high < accuracy.reference - limit
    found_skew = _skew(heard, next(record for record in known if record.path == CANARY), config)
    train = [record for record in known if record.path == TRAIN and record.measured]
    unlike = _least_like(heard.sample, train)
    result = WatchResult(
        version=number,
        model_digest=model_digest(model),
        since=_iso(since_s),
        until=_iso(window.until_s),
        judged=judged,
        requests=requests,
        with_speech=with_speech,
        errors=int(sums.get("errors", 0)),
        sample=len(heard.sample),
        reference=len(held_out),
        reasons=_reasons(drift, accuracy, found_skew),
        notes=_notes(heard, number, config),
        drift=drift,
        accuracy=accuracy,
        skew=found_skew,
        days=[_day(date, values) for date, values in sorted(heard.days.items())],
        unlike=[_unlike(record, distance) for record, distance in unlike],
        trials=[trial for trial in reversed(read_decisions(serving)) if trial.when >= _iso(since_s)],
    )
    return Watched(result, heard.sample, held_out, [record for record, _ in unlike])


def name_of(measure: str) -> str:
    """A measure for people."""
    return f"mel bands, part {measure.split()[1]} of 8" if measure.startswith("mel ") else NAMES[measure]


def _versions_of(serving: Path, version: int, there: Sequence[int]) -> frozenset[int]:
    """The version, and those that are the same model: what a rollback puts in front is a copy of an earlier one."""
    digests = {number: known.model_digest for number in there if (known := read_provenance(serving, number))}
    return frozenset({version, *(number for number in digests if digests[number] == digests.get(version))})


def _skew(heard: Heard, expected: Record, config: WatchConfig) -> Skew | None:
    if not heard.canaries:
        return None
    value = max(skew(record, expected) for record in heard.canaries)
    limit = config.max_skew
    return Skew(value=min(value, 1e9), threshold=limit, asked=len(heard.canaries), alarm=limit is not None and value > limit)


def _reasons(drift: Sequence[Drift], accuracy: ExpectedAccuracy | None, found: Skew | None) -> list[str]:
    reasons = []
    if found and found.alarm:
        reasons.append(f"skew: the server hears its canary recording differently from training, by {found.value:.1g}")
    if accuracy and accuracy.alarm:
        reasons.append(
            f"accuracy: {accuracy.value:.1%} of the labels are expected to be right, {accuracy.low:.1%} to {accuracy.high:.1%}; "
            f"of the reference's clips {accuracy.reference:.1%} are"
        )
    reasons += [
        f"drift of {name_of(item.name)}: {item.kind} {item.distance:.3f}, at most {item.threshold:g}"
        for item in drift
        if item.alarm
    ]
    return reasons


def _notes(heard: Heard, version: int, config: WatchConfig) -> list[str]:
    sums, notes = heard.sums, []
    with_speech = int(sums.get("with speech", 0))
    if not sums.get("requests"):
        notes.append("no requests of this version in this time")
    elif with_speech < config.min_requests:
        notes.append(
            f"{with_speech} requests with speech, fewer than watch.min_requests {config.min_requests}: nothing is judged"
        )
    told = {
        "torn": "places where a file is cut or damaged; what comes before them was read",
        "unreadable": "files that cannot be read",
        "of the future": "records from the future, by a wrong clock; left out",
    }
    notes += [f"{int(sums[name])} {text}" for name, text in told.items() if sums.get(name)]
    others = {name.removeprefix("of "): int(number) for name, number in sums.items() if name.startswith("of version ")}
    notes += [f"{_counted(number)} answered by {name}; left out" for name, number in sorted(others.items())]
    if not heard.canaries and sums.get("requests"):
        notes.append("the log holds no answers to the canary, so skew is not known")
    return notes


def _counted(number: int) -> str:
    return "1 request was" if number == 1 else f"{number} requests were"


def _day(date: str, sums: Mapping[str, float]) -> Day:
    with_speech = int(sums.get("with speech", 0))
    totals = {name.removeprefix("sum of "): value for name, value in sums.items() if name.startswith("sum of ")}
    return Day(
        date=date,
        requests=int(sums.get("requests", 0)),
        with_speech=with_speech,
        errors=int(sums.get("errors", 0)),
        means={name: value / with_speech for name, value in totals.items()},
    )


def _least_like(requests: Sequence[Record], train: Sequence[Record]) -> list[tuple[Record, float]]:
    """The requests that are farthest from their nearest training clip, in the median distance of training clips to theirs."""
    size = len(train[0].embedding) if train else 0
    known = [record for record in requests if len(record.embedding) == size]
    if not known or len(train) < 2:
        return []
    there = np.array([record.embedding for record in train], np.float64)
    scale = there.std(axis=0) + 1e-6
    among = cdist(there / scale, there / scale)
    np.fill_diagonal(among, np.inf)
    usual = float(np.median(among.min(axis=1)))
    nearest = cdist(np.array([record.embedding for record in known]) / scale, there / scale).min(axis=1) / max(usual, 1e-9)
    return [(known[place], float(nearest[place])) for place in np.argsort(-nearest)[:NUM_UNLIKE]]


def _unlike(record: Record, distance: float) -> Unlike:
    return Unlike(
        time=_iso(record.time_s),
        path=record.path,
        label=record.label,
        probability=confidence(record),
        duration_s=record.duration_s,
        distance=distance,
    )


def _iso(time_s: float) -> str:
    return datetime.datetime.fromtimestamp(time_s, datetime.UTC).isoformat(timespec="seconds")
