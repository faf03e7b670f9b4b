# SPDX-License-Identifier: Apache-2.0
"""What a server tells Prometheus."""

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The figures, each server's own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        prefix: dict[str, Any] = {"namespace": "audio_gender", "registry": self.registry}
        self.requests = Counter("requests", "Requests by path and HTTP status.", ("path", "status"), **prefix)
        self.seconds = Histogram(
            "request_seconds", "From the request's head to the end of its answer.", ("path",), buckets=SECONDS, **prefix
        )
        self.waiting = Gauge("waiting", "Requests that wait for a worker.", **prefix)
        self.answering = Gauge("answering", "Requests that the model answers now.", **prefix)
        self.version = Gauge("model_version", "The version that answers.", **prefix)
        self.taken_up = Counter("versions_taken_up", "Versions that were loaded and now answer, or did.", **prefix)
        self.refused = Counter("versions_refused", "Versions that were damaged or not signed, and not taken up.", **prefix)
        self.canary = Gauge("canary_version", "The candidate that is tried; 0 where there is none.", **prefix)
        self.canary_decisions = Counter("canary_decisions", "What became of candidates.", ("outcome",), **prefix)
        self.compared = Counter(
            "compared", "Requests that were put to two versions, or dropped for lack of time or memory.", ("outcome",), **prefix
        )
        self.failed_over = Counter("failed_over", "Requests that a new version failed and the other answered.", **prefix)
        self.rollbacks = Counter("rollbacks", "Versions that this server took out of serving, beyond their bounds.", **prefix)
        self.log_records = Counter("log_records", "Records of the request log by what became of them.", ("outcome",), **prefix)
        self.log_bytes = Gauge("log_bytes", "Of the request log on disk.", **prefix)
        self.skew = Gauge("skew", "How far what is heard of the canary differs from what the training heard.", **prefix)

    def page(self) -> bytes:
        """All of them, in Prometheus' text format."""
        return generate_latest(self.registry)
