"""Accuracy on speakers never heard: each variant trained on the same clips, for several seeds that draw the split too.

    LIBRISPEECH_ROOT=… .venv/bin/python -m benchmarks.accuracy --json accuracy.json

For each seed, clips are made as `pipeline/configs/librispeech-mini.yaml` says: 12 s for training, 60 s and 10 s of the test
speakers. Each row is then trained in a process of its own and scored on the test clips of both lengths.
"""

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table

from beam_jobs.console import console, say
from beam_jobs.corpus.readers import read_corpus
from beam_jobs.generate_clips import generate_clips
from benchmarks.measure import python
from pipeline.config import load_config

CONFIG = Path(__file__).parent.parent / "pipeline" / "configs" / "librispeech-mini.yaml"
TEST_LENGTHS_S = (60, 10)
TEST_CLIPS = 300
MIXED = "clips.mixed_share=0.33"
NETWORKS = {
    "conv3d": [],
    "cnn2d": ["model.architecture=cnn2d"],
    "crnn": ["model.architecture=crnn"],
    "prototype": ["model.architecture=prototype"],
    "conv3d, three classes": [MIXED],
}
OTHERS = {"linear": "benchmarks.linear_baseline", "article": "benchmarks.article_network_baseline"}
ROWS = (*NETWORKS, *OTHERS)


Figures = dict[str, list[dict[str, Any]]]
"""By row, one for each seed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", default=os.environ.get("LIBRISPEECH_ROOT"), help="default: LIBRISPEECH_ROOT")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS, metavar="ROW", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--workdir", type=Path, help="keep clips here, and use those that are there (about 3 GB a seed)")
    parser.add_argument("--json", type=Path, help="write the figures here; those that are there are not measured again")
    args = parser.parse_args()
    if not args.corpus:
        parser.error("give --corpus or set LIBRISPEECH_ROOT")
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.workdir or Path(temporary)
        figures: Figures = json.loads(args.json.read_text()) if args.json and args.json.exists() else {}
        for seed in args.seeds:
            for row in args.rows:
                if any(result["seed"] == seed for result in figures.setdefault(row, [])):
                    continue
                figures[row].append({"seed": seed} | _run(row, seed, args.corpus, folder))
                say(f"{row}, seed {seed}: {_format_scores(figures[row][-1])}")
                if args.json:
                    args.json.write_text(json.dumps(figures, indent=1))
    console.print(_table(figures))


def _run(row: str, seed: int, corpus: str, folder: Path) -> dict[str, Any]:
    settings = [f"clips.seed={seed}", f"train.seed={seed}", *NETWORKS.get(row, [])]
    clips = "mixed" if MIXED in settings else "clips"
    train = _dataset(folder / f"{clips}-train-{seed}", corpus, [*settings, "clips.num_clips.test=1"])
    tests = []
    for length in TEST_LENGTHS_S:
        only_test = [f"clips.duration_s={length}", f"clips.num_clips={{train: 1, eval: 1, test: {TEST_CLIPS}}}"]
        tests.append(_dataset(folder / f"{clips}-test-{length}s-{seed}", corpus, [*settings, *only_test]))
    arguments: list[object] = ["--train", train]
    for test in tests:
        arguments += ["--test", test]
    if row in NETWORKS:
        for setting in settings:
            arguments += ["--set", setting]
        command = python("benchmarks.own_network", "--config", CONFIG, *arguments)
    else:
        command = python(OTHERS[row], *arguments, "--seed", seed)
    log = folder / f"{row.replace(', ', '-').replace(' ', '-')}-{seed}.log"
    with log.open("w") as errors:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{log.read_text()[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def _dataset(folder: Path, corpus: str, settings: Sequence[str]) -> Path:
    if not (folder / "dataset_info.json").exists():
        config = load_config(CONFIG, settings)
        generate_clips(config.clips, read_corpus(corpus, config.corpus.subsets), str(folder), config.beam.clips)
    return folder


def _format_scores(result: dict[str, Any]) -> str:
    scores = {length: result[f"{length}s"] for length in TEST_LENGTHS_S}
    words = [f"{length} s {score['accuracy']:.4f}, ECE {score['ece']:.3f}" for length, score in scores.items()]
    return f"{'; '.join(words)}; {result['minutes']:.1f} min"


def _table(figures: Figures) -> Table:
    title = "Test speakers, whom no variant heard: medians over the seeds (lowest; for ECE and minutes, greatest)"
    table = Table(title=title, title_justify="left")
    table.add_column("variant", no_wrap=True)
    for length in TEST_LENGTHS_S:
        table.add_column(f"accuracy, {length} s", justify="right")
        table.add_column(f"ECE, {length} s", justify="right")
    for name in ("parameters", "minutes"):
        table.add_column(name, justify="right")
    for row, results in figures.items():
        cells = []
        for length in TEST_LENGTHS_S:
            accuracy = [result[f"{length}s"]["accuracy"] for result in results]
            ece = [result[f"{length}s"]["ece"] for result in results]
            cells += [f"{median(accuracy):.4f} ({min(accuracy):.4f})", f"{median(ece):.3f} ({max(ece):.3f})"]
        minutes = [result["minutes"] for result in results]
        table.add_row(row, *cells, f"{results[0]['parameters']:,}", f"{median(minutes):.1f} ({max(minutes):.1f})")
    return table


if __name__ == "__main__":
    main()
