# SPDX-License-Identifier: Apache-2.0
"""How fast clips are made: `python -m benchmarks.clip_generation --corpus ROOT`. What is measured: benchmarks/README.md."""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from beam_jobs.corpus.librispeech import read_librispeech
from benchmarks.draws import FIRST, as_cuts, plans, settings, speech_s
from benchmarks.measure import Pair, Run, peak_mb, per_clip, python, run

Pairs = dict[str, list[Pair]]


class Bench:
    """A scratch folder, and the runs that were made in it."""

    def __init__(self, corpus: Path, scratch: Path, num_clips: int) -> None:
        self.index = read_librispeech(corpus)
        self.scratch = scratch
        self.num_clips = num_clips
        self.pairs: Pairs = defaultdict(list)
        (scratch / "index.json").write_text(self.index.to_json())

    def measure(self, name: str, variant: str, rate: int, clips: int, *options: object) -> None:
        """Runs a variant at two sizes, its smallest and `clips`, and removes what it wrote."""
        small, large = (self._run(variant, rate, number, options) for number in (FIRST, clips))
        self.pairs[name].append(Pair(small, large))
        cost = per_clip(self.pairs[name][-1:]) * 1000
        print(f"  {name:<34} {large.clips:>6} clips  {cost:8.1f} ms a clip  {large.peak_mb:6.0f} MB", flush=True)

    def _run(self, variant: str, rate: int, clips: int, options: tuple[object, ...]) -> Run:
        output = self.scratch / "output"
        try:
            command = python("benchmarks.clip_variants", variant, self.scratch / "index.json", output, clips, rate, *options)
            return run(command, self.scratch / "log.txt")
        finally:
            shutil.rmtree(output, ignore_errors=True)

    def measure_lhotse(self, interpreter: str) -> None:
        """Lhotse on the clips of the job at 16 kHz; both runs without the first ones, so that the difference is the rest."""
        drawn = as_cuts(plans(settings(self.num_clips, 16000), self.index), self.index.root, 16000)
        runs = []
        for number in (FIRST, self.num_clips):
            cuts = self.scratch / "cuts.json"
            cuts.write_text(json.dumps(drawn[:number]))
            script = Path(__file__).parent / "lhotse_baseline.py"
            runs.append(run([interpreter, str(script), str(cuts)], self.scratch / "log.txt"))
        self.pairs["lhotse 16k"].append(Pair(*runs))
        print(f"  {'lhotse 16k':<34} {self.num_clips:>6} clips  {per_clip([Pair(*runs)]) * 1000:8.1f} ms a clip", flush=True)


def measure_all(bench: Bench, rounds: int, lhotse_python: str | None) -> None:
    """Every variant once a round, side by side; the article's way takes another part of the clips each round."""
    few, many = bench.num_clips, 10 * bench.num_clips
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}; load {os.getloadavg()[0]:.1f}", flush=True)
        bench.measure("article", "article", 22050, few, "--part", f"{number}/{rounds}")
        bench.measure("job", "job", 22050, few)
        bench.measure("floor", "floor", 22050, few)
        bench.measure("job 10x", "job", 22050, many)
        bench.measure("job, again", "job", 22050, few)
        bench.measure("job, 1 worker process", "job", 22050, many, "--workers", 1)
        bench.measure("job, 2 worker processes", "job", 22050, many, "--workers", 2)
        bench.measure("job 16k", "job", 16000, few)
        if lhotse_python:
            bench.measure_lhotse(lhotse_python)


def ratios(pairs: Pairs) -> dict[str, float]:
    """The figures that the targets are about. Ratios of clocks are medians over the rounds, but for the article's way: its
    rounds hold different clips, and only all of them together are the clips of the job.
    """

    def by_round(one: str, other: str, per: str = "seconds") -> float:
        return median(getattr(a, per) / getattr(b, per) for a, b in zip(pairs[one], pairs[other], strict=True))

    # The job is measured before and after the one ten times as long, so that a machine that slows down meanwhile counts for both.
    rounds = zip(pairs["job"], pairs["job 10x"], pairs["job, again"], strict=True)
    growths = [10 * per_clip([many]) / per_clip([before, after]) for before, many, after in rounds]
    figures = {
        "speedup_vs_article": per_clip(pairs["article"]) / per_clip(pairs["job"]),
        "speedup_vs_article_cpu": per_clip(pairs["article"], _cpu_s) / per_clip(pairs["job"], _cpu_s),
        "speedup_two_workers": by_round("job, 1 worker process", "job, 2 worker processes"),
        "speedup_two_workers_cpu": by_round("job, 1 worker process", "job, 2 worker processes", "chain_cpu_s"),
        "time_growth_10x": median(growths),
        "memory_growth_10x": peak_mb(pairs["job 10x"]) / peak_mb(pairs["job"]),
        "ratio_to_floor": by_round("job", "floor"),
        "ratio_to_floor_cpu": by_round("job", "floor", "cpu_s"),
        "a_clip_ms_16k": per_clip(pairs["job 16k"]) * 1000,
    }
    if pairs.get("lhotse 16k"):
        figures["lhotse_clip_ms_16k"] = per_clip(pairs["lhotse 16k"]) * 1000
        figures["lhotse_ratio"] = by_round("job 16k", "lhotse 16k")
        figures["lhotse_ratio_cpu"] = by_round("job 16k", "lhotse 16k", "cpu_s")
    return figures


def _cpu_s(pair: Pair) -> float:
    return pair.cpu_s


def report(bench: Bench, figures: dict[str, float]) -> None:
    """Prints the table and the ratios."""
    print(f"\n{'':<26}{'s a clip':>10}{'clips/s':>9}{'CPU s a clip':>14}{'start-up s':>12}{'peak MB':>9}")
    for name, pairs in bench.pairs.items():
        cost = per_clip(pairs)
        start_s = median(pair.small.seconds - pair.small.clips * cost for pair in pairs)
        cpu_s = per_clip(pairs, _cpu_s)
        print(f"{name:<26}{cost:>10.4f}{1 / cost:>9.1f}{cpu_s:>14.4f}{start_s:>12.1f}{peak_mb(pairs):>9.0f}")
    print()
    for name, value in figures.items():
        print(f"{name:<26}{value:>10.2f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, default=os.environ.get("LIBRISPEECH_ROOT"), help="LibriSpeech layout")
    parser.add_argument("--clips", type=int, default=200, help="clips of a job; ten times as many for growth and workers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--lhotse-python", help="interpreter of an environment with lhotse-requirements.txt")
    parser.add_argument("--scratch", type=Path, help="where clips are written and removed (2.7 MB a clip); default: TMPDIR")
    arguments = parser.parse_args()
    if not arguments.corpus:
        parser.error("no corpus: give --corpus ROOT, or set LIBRISPEECH_ROOT")
    if arguments.clips < FIRST + arguments.rounds:
        parser.error(f"--clips {arguments.clips}: give {FIRST + arguments.rounds} or more")
    if not shutil.which("ffmpeg"):
        print(
            "error: pydub, the article's way, decodes FLAC by ffmpeg, and there is none: apt-get install ffmpeg", file=sys.stderr
        )
        return 2
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        bench = Bench(arguments.corpus, Path(scratch), arguments.clips)
        measure_all(bench, arguments.rounds, arguments.lhotse_python)
        speech = [speech_s(plans(settings(number, 22050), bench.index)) for number in (arguments.clips, 10 * arguments.clips)]
    figures = ratios(bench.pairs)
    report(bench, figures)
    print(f"{'speech in a clip':<26}{speech[0]:>10.1f} s, and {speech[1]:.1f} s with 10x clips")
    if arguments.json:
        raw: dict[str, Any] = {name: [asdict(pair) for pair in pairs] for name, pairs in bench.pairs.items()}
        arguments.json.write_text(json.dumps({**figures, "speech_s": speech, "raw": raw}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
