# SPDX-License-Identifier: Apache-2.0
"""What a server is told: where the models lie, where it listens, how much it takes on."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class LogConfig:
    """What is kept of requests, and for how long."""

    folder: Path
    share: float = 0.1
    """Of the requests, drawn one by one."""
    fields: frozenset[str] = frozenset({"measures", "mel", "embedding"})
    """Groups of `components.watch.fields.GROUPS`, beside time, version, duration, share of speech and probabilities."""
    days: float = 30.0
    max_mb: int = 1024
    """Of all files together, in MiB; the oldest go first."""


@dataclass(frozen=True)
class ServerConfig:
    """Of `audio-gender serve`."""

    serving: Path
    """The serving folder; its newest version answers."""
    name: str = "audio-gender"
    """The model's name in the protocols' paths."""
    host: str = "127.0.0.1"
    port: int = 8501
    max_body_mb: int = 64
    """The largest request of the protocols, in MiB."""
    max_recording_mb: int = 256
    """The largest recording that `/analyse` takes: two hours as WAV at 16 kHz."""
    max_duration_s: float = 14_400.0
    """The longest recording that `/analyse` takes; the model's own signatures keep to `serving.max_duration_s`."""
    max_waiting: int = 64
    """Requests that wait for a free worker; one more is answered with 503."""
    timeout_s: float = 120.0
    """In which a request must have arrived, and after that be answered; `Trial.more_s` later while a new version is tried."""
    workers: int = len(os.sched_getaffinity(0))
    """Requests that the model answers at a time."""
    poll_s: float = 1.0
    """How often the serving folder is looked at."""
    public_key: Path | None = None
    """With which a version must have been signed to be taken up; None where any will do."""

    log: LogConfig | None = None
    """None keeps nothing."""

    @property
    def max_in_hand_mb(self) -> int:
        """Of all requests together."""
        return max(4 * self.max_body_mb, self.max_recording_mb)
