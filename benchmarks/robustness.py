# SPDX-License-Identifier: Apache-2.0
"""A model of yours on voices that have gone through something: `python -m benchmarks.robustness --model DIR --corpus ROOT`.

Asks an exported SavedModel about the test speakers of a configuration: their first ten seconds, shorter parts, and each of ten
degradations at three strengths, with the linear model beside it, fitted to the same training speakers (benchmarks/README.md).
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from beam_jobs.console import say
from beam_jobs.corpus.readers import read_corpus
from beam_jobs.errors import UserError
from beam_jobs.make_shard import split_for
from benchmarks.answer_table import Scores, markdown, scores_by_set
from benchmarks.cross_validation import CONFIG
from benchmarks.evaluation_sets import CLEAN, read_voices, sets_in, write_voice_sets
from benchmarks.linear_baseline import linear_answers, write_features
from benchmarks.referee import referee_answers
from benchmarks.utterance_scores import answers_of
from pipeline.config import load_config


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of a SavedModel with the signature `wav`")
    parser.add_argument("--corpus", default=os.environ.get("LIBRISPEECH_ROOT"), help="default: LIBRISPEECH_ROOT")
    parser.add_argument(
        "--config", type=Path, default=CONFIG, help="what the model was trained with: it says who the test speakers are"
    )
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY.PATH=VALUE")
    parser.add_argument("--ina-python", help="interpreter of an environment with ina-requirements.txt")
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    if not args.corpus:
        parser.error("give --corpus or set LIBRISPEECH_ROOT")
    if not (args.model / "saved_model.pb").exists():
        parser.error(
            f"--model {args.model}: no SavedModel there (saved_model.pb); give the folder that the Trainer or Pusher wrote"
        )
    try:
        config = load_config(args.config, args.settings)
        index = read_corpus(args.corpus, config.corpus.subsets, labelling=config.corpus.labelling)
        splits = split_for(index, config.clips)
    except UserError as error:
        say(f"error: {error}")
        return 2
    columns: dict[str, Scores] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_voice_sets(folder / "test", read_voices(index, splits["test"]))
        write_voice_sets(folder / "train", read_voices(index, splits["train"]), names=[CLEAN])
        sets, (training,) = sets_in(folder / "test"), sets_in(folder / "train")
        columns["ours"] = scores_by_set(answers_of(args.model, sets, [], folder / "log.txt"))
        write_features([training, *sets])
        columns["linear"] = scores_by_set(linear_answers(training, [speaker.id for speaker in splits["train"]], sets))
        if args.ina_python:
            columns["ina"] = scores_by_set({one.name: referee_answers(args.ina_python, one) for one in sets})
    print(markdown(columns))
    if args.json:
        args.json.write_text(json.dumps(columns, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
