# SPDX-License-Identifier: Apache-2.0
"""What names a run, its corpus and its models, in words."""

import datetime
import re
from collections.abc import Sequence

from beam_jobs.corpus.index import FEEDBACK
from beam_jobs.corpus.synthetic import SUBSET as SYNTHETIC
from components.review_report.inputs import ReportInputs

LIBRISPEECH = re.compile(r"(train|dev|test)-(clean|other)(-\d+)?")
SYNTHETIC_SPEECH, READ_SPEECH, SPEECH = "voices synthesised by espeak-ng", "read speech from audiobooks", "speech"


def now() -> str:
    """The time in UTC, to the minute."""
    return minute(datetime.datetime.now(datetime.UTC).isoformat())


def minute(iso: str) -> str:
    """`2026-11-26 19:20 UTC` of an ISO 8601 time."""
    try:
        return f"{datetime.datetime.fromisoformat(iso).astimezone(datetime.UTC):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        return iso


def kind_of_speech(subsets: Sequence[str]) -> str:
    """What the recordings of a corpus are, as far as the names of its subsets tell."""
    subsets = [subset for subset in subsets if subset != FEEDBACK]
    if subsets and set(subsets) == {SYNTHETIC}:
        return SYNTHETIC_SPEECH
    return READ_SPEECH if subsets and all(map(LIBRISPEECH.fullmatch, subsets)) else SPEECH


def corpus_name(subsets: Sequence[str], folder: str = "") -> str:
    """`LibriSpeech (train-clean-100): read speech from audiobooks`; `folder` is where the corpus lies, "" where not known."""
    kind = kind_of_speech(subsets)
    name = {READ_SPEECH: "LibriSpeech", SYNTHETIC_SPEECH: "demo corpus"}.get(kind) or folder.rstrip("/").rsplit("/", 1)[-1]
    parts = f"({', '.join(subsets)})" if subsets else ""
    return ": ".join(filter(None, (" ".join(filter(None, (name, parts))), "" if kind == SPEECH else kind))) or "not named"


def of_run(inputs: ReportInputs, run_id: str, made: str, candidate: str, code_revision: str, alarm: str = "") -> dict[str, str]:
    """The lines of the page's list of facts.

    Args:
        inputs: what is known otherwise.
        run_id: the run's id.
        made: when it began, or the page was made.
        candidate: its version, or what it has instead of one; "" where that is not known yet.
        code_revision: of the run.
        alarm: why it was started, where a person did not; else "".
    """
    dataset, version = inputs.dataset, inputs.gate.baseline_version
    found = {
        "run": run_id,
        "date": made,
        "retrained for": alarm,
        "corpus": f"{corpus_name(dataset.corpus_subsets, inputs.corpus)}; fingerprint {dataset.corpus_fingerprint[:12]}",
        "candidate": candidate,
        "serving": f"version {version}, when the run began" if version else "no model, when the run began",
        "code revision": code_revision,
    }
    return {name: value for name, value in found.items() if value}
