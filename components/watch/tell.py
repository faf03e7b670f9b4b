# SPDX-License-Identifier: Apache-2.0
"""Who is told of a result besides the reader of the page: Prometheus by a file, and a webhook."""

import http.client
import json
import threading
import urllib.error
import urllib.request
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from components.watch.result import WatchResult

WEBHOOK_S = 10.0
"""A webhook that has not answered by then is not waited for."""


def write_metrics(result: WatchResult, path: Path) -> None:
    """Writes them for the textfile collector of Prometheus' node exporter. The file appears whole.

    Raises:
        OSError: it cannot be written.
    """
    registry = CollectorRegistry()

    def gauge(name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, namespace="audio_gender_watch", registry=registry)

    gauge("alarm", "Whether there is an alarm.").set(float(result.status == "alarm"))
    gauge("judged", "Whether there were requests enough to judge.").set(float(result.judged))
    gauge("requests", "Requests in the log.").set(result.requests)
    gauge("version", "The version that was watched.").set(result.version)
    gauge("time_seconds", "When it was watched, in seconds since 1970.").set_to_current_time()
    distance, alarm = gauge("drift", "Distance from the reference.", "measure"), gauge("drift_alarm", "Is it one?", "measure")
    for item in result.drift:
        distance.labels(item.name).set(item.distance)
        alarm.labels(item.name).set(float(item.alarm))
    if result.accuracy:
        gauge("expected_accuracy", "Share of the labels that is expected to be right.").set(result.accuracy.value)
        gauge("expected_accuracy_high", "Upper end of its 95 % interval.").set(result.accuracy.high)
    if result.skew:
        gauge("skew", "Difference between what training and server hear.").set(result.skew.value)
    write_to_textfile(str(path), registry)


def call_webhook(result: WatchResult, url: str, timeout_s: float = WEBHOOK_S) -> str:
    """Posts the result as JSON, without days and single requests.

    Returns:
        What went wrong, in one line; empty where all is well.
    """
    content = {"text": summary(result), **result.model_dump(mode="json", exclude={"days", "unlike"})}
    asked = urllib.request.Request(  # noqa: S310 (http and https alone, which the command has checked)
        url, json.dumps(content).encode(), {"Content-Type": "application/json"}
    )
    said = [f"did not answer within {timeout_s:g} s"]

    def call() -> None:
        try:
            with urllib.request.urlopen(asked, timeout=timeout_s):  # noqa: S310
                said.append("")
        except urllib.error.HTTPError as error:
            error.close()
            said.append(f"answered {error.code}")
        except (OSError, ValueError, http.client.HTTPException) as error:
            said.append(str(getattr(error, "reason", None) or error) or type(error).__name__)

    # urllib's own limit is for each read: a server that sends a byte a second has no end.
    caller = threading.Thread(target=call, daemon=True)
    caller.start()
    caller.join(timeout_s + 1)
    return said[-1]


def summary(result: WatchResult) -> str:
    """One line for a chat."""
    first = f": {result.reasons[0]}" if result.reasons else ""
    more = f" (and {len(result.reasons) - 1} more)" if len(result.reasons) > 1 else ""
    return f"audio-gender version {result.version}: {result.status}{first}{more}"
