# SPDX-License-Identifier: Apache-2.0
"""What tells one corpus from another, wherever they lie."""

import hashlib

from beam_jobs.corpus.contents import Contents
from beam_jobs.corpus.index import SpeakerIndex


def corpus_digest(index: SpeakerIndex, contents: Contents) -> str:
    """SHA-256 over a corpus's speakers, labels and files, their lengths and what they hold."""
    digest = hashlib.sha256(index.fingerprint().encode())
    for utterance in index.utterances():
        content = contents.get(utterance.path)
        digest.update(f"{content.digest if content else 'unreadable'}\n".encode())
    return digest.hexdigest()
