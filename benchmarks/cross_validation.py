# SPDX-License-Identifier: Apache-2.0
"""Accuracy on people whom no model heard, by cross-validation: `python -m benchmarks.cross_validation --corpus ROOT`.

What is measured and how: benchmarks/README.md.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from beam_jobs.console import say
from beam_jobs.corpus.contents import read_contents
from beam_jobs.corpus.digest import corpus_digest
from beam_jobs.corpus.index import SpeakerIndex
from beam_jobs.corpus.readers import read_corpus
from beam_jobs.errors import UserError
from beam_jobs.generate_clips import generate_clips
from benchmarks.answer_table import markdown, scores_by_set
from benchmarks.evaluation_sets import (
    CLEAN,
    HELD_OUT_SHARES,
    VOICE_SETS,
    RecordingSet,
    read_voices,
    sets_in,
    with_test_speakers,
    write_clip_sets,
    write_open_set,
    write_voice_sets,
)
from benchmarks.linear_baseline import linear_answers, write_features
from benchmarks.measure import last_line, python
from benchmarks.referee import referee_answers
from benchmarks.utterance_scores import Answers, BySet, answers_of, as_json, from_json
from pipeline.config import PipelineConfig, load_config

CONFIG = Path(__file__).parent.parent / "pipeline" / "configs" / "librispeech-mini.yaml"
MALAYALAM = Path("../shared/data/malayalam")
FEW_TEST_CLIPS = "clips.num_clips.test=12"
"""In the dataset that trains: enough to hold every class, since nobody asks about them."""


def folds(index: SpeakerIndex, number: int) -> list[list[str]]:
    """The speakers, dealt out label by label: each is in one fold, and every run of as many folds deals alike."""
    dealt: list[list[str]] = [[] for _ in range(number)]
    for label in index.labels():
        ids = sorted(speaker.id for speaker in index.speakers if speaker.label == label)
        random.Random(f"folds/{label}").shuffle(ids)
        for position, speaker in enumerate(ids):
            dealt[position % number].append(speaker)
    return [sorted(fold) for fold in dealt]


@dataclass(frozen=True)
class Bench:
    """A work folder: recordings that all are asked about, by corpus; clips and models, by configuration and fold."""

    folder: Path
    index: SpeakerIndex
    corpus: str
    folds: Sequence[Sequence[str]]
    config_file: Path
    settings: Sequence[str]

    def heard(self, fold: int) -> list[str]:
        """The speakers of all other folds."""
        return sorted({speaker.id for speaker in self.index.speakers} - set(self.folds[fold]))

    @property
    def voices(self) -> Path:
        """The folder of what everybody is asked about; a fold's models, those recordings whose speakers they have not heard."""
        return self.folder / f"recordings-{self.corpus[:8]}"

    def sets(self, fold: int) -> list[RecordingSet]:
        """The same, and the clips of the fold's own speakers."""
        return sets_in(self.voices, self._of(fold) / "sets")

    def write_sets(self, clips: int, open_corpora: Sequence[Path], names: Sequence[str]) -> None:
        """Makes all recordings, and the linear model's features of them."""
        write_voice_sets(self.voices, read_voices(self.index, self.index.speakers), names)
        for root in open_corpora:
            write_open_set(self.voices, root)
        classes = load_config(self.config_file, self.settings).clips.classes
        for fold, test in enumerate(self.folds):
            write_clip_sets(self._of(fold) / "sets", self.index, test, classes, clips)
            write_features(self.sets(fold))

    def ours(self, fold: int, seed: int) -> dict[str, Any]:
        """Trains, exports and asks a network: its parameters, the minutes that training took, and the answers."""
        folder, model = self._of(fold), self._of(fold) / f"model-{seed}"
        shares = f"clips.split_shares={json.dumps(HELD_OUT_SHARES.model_dump())}"
        settings = [*self.settings, f"train.seed={seed}", FEW_TEST_CLIPS, shares]
        config, clips = load_config(self.config_file, settings), folder / "clips"
        generate_clips(config.clips, with_test_speakers(self.index, self.folds[fold]), str(clips), config.beam.clips)
        shutil.rmtree(model, ignore_errors=True)
        arguments = [part for setting in settings for part in ("--set", setting)]
        train = python("benchmarks.own_network", "--config", self.config_file, *arguments, "--train", clips, "--export", model)
        figures: dict[str, Any] = json.loads(last_line(train, folder / f"training-{seed}.log"))
        answers = answers_of(model, self.sets(fold), self.heard(fold), folder / f"answers-{seed}.log")
        return figures | {"answers": as_json(answers)}

    def linear(self, fold: int) -> BySet:
        return linear_answers(RecordingSet(self.voices / f"{CLEAN}.npz"), self.heard(fold), self.sets(fold))

    def _of(self, fold: int) -> Path:
        settings = json.dumps([self.corpus, settings_of(load_config(self.config_file, self.settings))])
        digest = hashlib.sha256(settings.encode()).hexdigest()[:8]
        return self.folder / f"models-{digest}" / f"fold-{fold}-of-{len(self.folds)}"


def settings_of(config: PipelineConfig) -> dict[str, Any]:
    """What decides how a network comes out."""
    return config.model_dump(mode="json", include={"clips", "model", "train"})


class Figures:
    """What has been measured, kept in a file after each step, so that a run goes on where another stopped."""

    def __init__(self, path: Path | None, settings: dict[str, Any]) -> None:
        self._path = path
        self.data: dict[str, Any] = {"settings": settings, "ours": {}, "linear": {}, "ina": {}}
        if path and path.exists():
            self.data = json.loads(path.read_text())
            if self.data.get("settings") != settings:
                raise UserError(f"{path}: holds figures of other settings; give another file")

    def keep(self, section: str, name: str, found: Any) -> None:
        self.data[section][name] = found
        self.write()

    def write(self) -> None:
        if self._path:
            unfinished = self._path.with_suffix(".tmp")
            unfinished.write_text(json.dumps(self.data))
            unfinished.rename(self._path)

    def pooled(self) -> dict[str, BySet]:
        """The answers of every model, its folds and seeds together; each model's own folds hold each speaker once."""
        ours = [from_json(run["answers"]) for run in self.data["ours"].values()]
        linear = [from_json(answers) for answers in self.data["linear"].values()]
        return {"ours": _pool(ours), "linear": _pool(linear), "ina": from_json(self.data["ina"])}


def _pool(runs: Sequence[BySet]) -> BySet:
    names = dict.fromkeys(name for run in runs for name in run)
    return {name: Answers.pooled(run[name] for run in runs if name in run) for name in names}


def measure(bench: Bench, seeds: Sequence[int], figures: Figures, ina_python: str | None, ina_sets: Sequence[str]) -> None:
    """All that is not in the figures yet."""
    for fold in range(len(bench.folds)):
        if str(fold) not in figures.data["linear"]:
            figures.keep("linear", str(fold), as_json(bench.linear(fold)))
    for seed in seeds:
        for fold in range(len(bench.folds)):
            name = f"fold {fold}, seed {seed}"
            if name not in figures.data["ours"]:
                figures.keep("ours", name, bench.ours(fold, seed))
                run = figures.data["ours"][name]
                clean = scores_by_set({CLEAN: from_json(run["answers"])[CLEAN]})[CLEAN]
                say(f"{name}: {clean['accuracy']:.3f} on {CLEAN}; {run['minutes']:.1f} min")
    if not ina_python:
        return
    for one in sets_in(bench.voices):
        if one.name not in figures.data["ina"] and (not ina_sets or one.name in ina_sets):
            figures.keep("ina", one.name, as_json({one.name: referee_answers(ina_python, one)})[one.name])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", default=os.environ.get("LIBRISPEECH_ROOT"), help="default: LIBRISPEECH_ROOT")
    parser.add_argument(
        "--open", type=Path, nargs="*", help=f"other corpora to be asked about; default: {MALAYALAM}, if it is there"
    )
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY.PATH=VALUE")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--clips", type=int, default=100, help="clips of each length and fold")
    parser.add_argument("--sets", nargs="+", choices=VOICE_SETS, default=VOICE_SETS, metavar="SET", help="default: all")
    parser.add_argument("--ina-python", help="interpreter of an environment with ina-requirements.txt")
    parser.add_argument("--ina-sets", nargs="+", default=[], metavar="SET", help="what it is asked about; default: all but clips")
    parser.add_argument(
        "--workdir", type=Path, help="keep recordings, clips and models here, and use the recordings that are there"
    )
    parser.add_argument("--json", type=Path, help="write the figures here; those that are there are not measured again")
    args = parser.parse_args()
    if not args.corpus:
        parser.error("give --corpus or set LIBRISPEECH_ROOT")
    open_corpora = [path for path in (MALAYALAM,) if path.exists()] if args.open is None else args.open
    try:
        config = load_config(args.config, args.settings)
        index = read_corpus(args.corpus, config.corpus.subsets, labelling=config.corpus.labelling)
        corpus = corpus_digest(index, read_contents(index))
        settings = {"corpus": corpus, "folds": args.folds, "asked": [args.clips, *map(str, open_corpora)]}
        figures = Figures(args.json, settings | settings_of(config))
        with tempfile.TemporaryDirectory() as temporary:
            bench = Bench(args.workdir or Path(temporary), index, corpus, folds(index, args.folds), args.config, args.settings)
            bench.write_sets(args.clips, open_corpora, args.sets)
            measure(bench, args.seeds, figures, args.ina_python, args.ina_sets)
    except UserError as error:
        say(f"error: {error}")
        return 2
    columns = {name: scores_by_set(answers) for name, answers in figures.pooled().items() if answers}
    figures.data["scores"] = columns
    figures.write()
    print(markdown(columns))
    runs = figures.data["ours"].values()
    minutes = [run["minutes"] for run in runs]
    print(f"\n{len(minutes)} networks of {next(iter(runs))['parameters']:,} parameters, {mean(minutes):.1f} minutes each")
    return 0


if __name__ == "__main__":
    sys.exit(main())
