# SPDX-License-Identifier: Apache-2.0
"""How fast a network is trained: `python -m benchmarks.training --corpus ROOT`. What is measured: benchmarks/README.md."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from beam_jobs.config import ClipsConfig, NumClips
from beam_jobs.corpus.librispeech import read_librispeech
from beam_jobs.generate_clips import generate_clips
from benchmarks.measure import python

SAMPLE_RATE_HZ = 22050
CLIPS_PER_SHARD = 24

FIRST_VARIANTS = ("article", "ours", "ours, whole clips", "ours, front end", "article, input", "ours, input")
SETTINGS = ("ours", "ours, bfloat16", "ours, XLA", "ours, input", "ours, input, cached")
"""Variants that take turns. The two groups are not up at once, for their memory's sake."""

Turns = dict[str, list[dict[str, float]]]


class Variant:
    """A process of `training_variants` that is warm and waits."""

    def __init__(self, name: str, folder: Path, clip_s: float, batch: int) -> None:
        self._log = (folder / "log.txt").open("a+")
        command = python("benchmarks.training_variants", name, folder, clip_s, batch)
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True)
        self._read()

    def __enter__(self) -> "Variant":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()

    def work(self, seconds: float) -> dict[str, float]:
        """Lets it work for a while; see `training_variants`."""
        assert self._process.stdin
        print(seconds, file=self._process.stdin, flush=True)
        return json.loads(self._read())

    def _read(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            raise RuntimeError(f"{self._process.args!r} failed:\n{self._log.read()[-2000:]}")
        return line


def make_clips(folder: Path, corpus: Path, clip_s: float, number: int) -> None:
    """Generates the training clips."""
    clips = ClipsConfig(
        duration_s=clip_s,
        sample_rate_hz=SAMPLE_RATE_HZ,
        num_clips=NumClips(train=number, eval=1, test=1),
        clips_per_shard=CLIPS_PER_SHARD,
        min_speech_s=clip_s / 4,
    )
    generate_clips(clips, read_librispeech(corpus), str(folder / "ours"))


def take_turns(names: Sequence[str], folder: Path, clip_s: float, batch: int, rounds: int, seconds: float) -> Turns:
    """Every variant works `seconds` in each round, one after another."""
    turns: Turns = defaultdict(list)
    with ExitStack() as stack:
        variants = {}
        for name in names:
            print(f"  starting: {name}", flush=True)
            variants[name] = stack.enter_context(Variant(name, folder, clip_s, batch))
        for number in range(rounds):
            print(f"  round {number + 1} of {rounds}; load {os.getloadavg()[0]:.1f}", flush=True)
            for name, variant in variants.items():
                turns[name].append(variant.work(seconds))
    return turns


def step_ms(turns: Sequence[dict[str, float]]) -> float:
    return 1000 * median(turn["seconds"] / turn["steps"] for turn in turns)


def faster(turns: Turns, one: str, other: str, per: str = "seconds") -> float:
    """How many times the steps of `other` the way `one` does in the same time: the median over the rounds."""
    return median(b[per] / b["steps"] * a["steps"] / a[per] for a, b in zip(turns[one], turns[other], strict=True))


def ratios(first: Turns, settings: Turns) -> dict[str, float]:
    """The figures that the targets are about, and what each thing gave."""
    return {
        "train_speedup_vs_article": faster(first, "ours", "article"),
        "train_speedup_vs_article_cpu": faster(first, "ours", "article", "cpu_s"),
        "train_speedup_whole_clips": faster(first, "ours, whole clips", "article"),
        "input_headroom": faster(first, "ours, input", "ours"),
        "input_headroom_article": faster(first, "article, input", "article"),
        "front_end_share": 1 / faster(first, "ours, front end", "ours"),
        "memory_ratio": first["article"][-1]["peak_mb"] / first["ours"][-1]["peak_mb"],
        "bfloat16_speedup": faster(settings, "ours, bfloat16", "ours"),
        "xla_speedup": faster(settings, "ours, XLA", "ours"),
        "cache_input_speedup": faster(settings, "ours, input, cached", "ours, input"),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, default=os.environ.get("LIBRISPEECH_ROOT"), help="LibriSpeech layout")
    parser.add_argument("--clip-s", type=float, default=12.0, help="length of the clips")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--batches", type=int, default=6, help="clips of the training set, in batches")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of a variant in a round")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--scratch", type=Path, help="where clips are written and removed; default: TMPDIR")
    arguments = parser.parse_args()
    if not arguments.corpus:
        parser.error("no corpus: give --corpus ROOT, or set LIBRISPEECH_ROOT")
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        folder = Path(scratch)
        print("making clips", flush=True)
        make_clips(folder, arguments.corpus, arguments.clip_s, arguments.batch * arguments.batches)
        with Variant("prepare", folder, arguments.clip_s, arguments.batch):
            pass
        first, settings = (
            take_turns(names, folder, arguments.clip_s, arguments.batch, arguments.rounds, arguments.seconds)
            for names in (FIRST_VARIANTS, SETTINGS)
        )
    table = first | {name: turns for name, turns in settings.items() if name not in first}
    print(f"\n{'':<22}{'ms a step':>10}{'clips/s':>9}{'CPU ms a clip':>15}{'peak MB':>9}")
    for name, turns in table.items():
        cost = step_ms(turns)
        cpu_ms = 1000 * median(turn["cpu_s"] / turn["steps"] for turn in turns) / arguments.batch
        clips_s = 1000 * arguments.batch / cost
        print(f"{name:<22}{cost:>10.1f}{clips_s:>9.1f}{cpu_ms:>15.1f}{turns[-1]['peak_mb']:>9.0f}")
    figures = ratios(first, settings)
    print()
    for name, value in figures.items():
        print(f"{name:<30}{value:>8.2f}")
    if arguments.json:
        settings_used = {"clip_s": arguments.clip_s, "batch": arguments.batch}
        arguments.json.write_text(json.dumps(figures | settings_used, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
