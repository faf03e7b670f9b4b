# SPDX-License-Identifier: Apache-2.0
"""inaSpeechSegmenter asked about sets, in its own environment; see ina_referee.py."""

import json
from pathlib import Path

from benchmarks.evaluation_sets import RecordingSet
from benchmarks.measure import last_line
from benchmarks.utterance_scores import Answers

SCRIPT = Path(__file__).parent / "ina_referee.py"


def referee_answers(interpreter: str, one: RecordingSet) -> Answers:
    """The label of which it heard more; no speech where it heard neither. It gives no probabilities.

    What it heard is kept beside the set, since it takes long and depends on nothing else.
    """
    kept = one.path.with_suffix(".ina.json")
    if not kept.exists():
        kept.write_text(last_line([interpreter, str(SCRIPT), str(one.path)], one.path.with_suffix(".ina.log")))
    answers = Answers()
    for recording, (female, male) in zip(one.read(), json.loads(kept.read_text()), strict=True):
        answers.add(recording, ("female" if female > male else "male") if female or male else None, None)
    return answers
