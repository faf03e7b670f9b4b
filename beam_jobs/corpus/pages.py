# SPDX-License-Identifier: Apache-2.0
"""Two self-contained HTML pages about a corpus: one to hear and see some utterances, one with its figures."""

import random
from collections.abc import Sequence
from typing import Any

from beam_jobs.audio import AudioError
from beam_jobs.corpus.checks import Check, enough_for_splits
from beam_jobs.corpus.index import Speaker, SpeakerIndex, Utterance
from beam_jobs.corpus.left_out import left_out
from beam_jobs.corpus.summary import by_subset_and_label, speaker_minutes, utterance_seconds
from beam_jobs.html_pages import player_source, render_page, waveform_and_mel_spectrogram
from beam_jobs.rendering import read_utterance
from beam_jobs.visible import readable

MAX_SHOWN_S = 60
"""What is heard of a longer utterance: an hour's recording would make a page that no browser opens."""


def player_page(index: SpeakerIndex, num_utterances: int, seed: int) -> str:
    """A page with `num_utterances` utterances drawn at random; a file that cannot be decoded says why."""
    spoken = [(speaker, utterance) for speaker in index.speakers for utterance in speaker.utterances]
    drawn = random.Random(f"listen/{seed}").sample(spoken, min(num_utterances, len(spoken)))  # noqa: S311 (not for secrets)
    cards = [_card(index.root, speaker, utterance) for speaker, utterance in drawn]
    return render_page("listen.html", root=index.root, seed=seed, total=len(spoken), cards=cards)


def _card(root: str, speaker: Speaker, utterance: Utterance) -> dict[str, Any]:
    shown_s = min(utterance.duration_s, MAX_SHOWN_S)
    card: dict[str, Any] = {
        "id": readable(utterance.id),
        "path": utterance.path,
        "speaker": speaker.id,
        "label": speaker.label,
        "duration_s": utterance.duration_s,
        "sample_rate_hz": utterance.sample_rate_hz,
        "shown_s": shown_s,
        "problem": "",
    }
    try:
        samples, rate_hz = read_utterance(
            root, utterance.path, 0, min(utterance.num_samples, round(shown_s * utterance.sample_rate_hz))
        )
    except AudioError as error:
        return {**card, "problem": str(error)}
    return {**card, "player": player_source(samples, rate_hz), "picture": waveform_and_mel_spectrogram(samples, rate_hz)}


def statistics_page(index: SpeakerIndex, kind: str, digest: str, checks: Sequence[Check] = ()) -> str:
    """A page with speakers and minutes by subset and label, histograms of lengths, and what was left out.

    `kind` says what the corpus was recognised as, `digest` which one it is (`beam_jobs.corpus.digest`), and `checks` which faults
    its recordings have.
    """
    return render_page(
        "corpus.html",
        root=index.root,
        kind=kind,
        fingerprint=digest,
        labels=index.labels(),
        enough=enough_for_splits(index),
        checks=checks,
        groups=by_subset_and_label(index),
        lengths=utterance_seconds(index),
        minutes=speaker_minutes(index),
        left_out=left_out(index),
        other_files=index.other_files,
    )
