# SPDX-License-Identifier: Apache-2.0
"""How fast a corpus is indexed: `python -m benchmarks.corpus_index --corpus ROOT`. What is measured: docs/corpora.md."""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import soundfile

from beam_jobs.corpus.readers import read_corpus
from benchmarks.measure import Run, python, run

SIZES = (10_000, 100_000)
CONTENTS = 8
UTTERANCES = 50  # of a speaker


def write_corpus(root: Path, num_files: int) -> None:
    """LibriSpeech's layout: files of 0.1 to 0.2 s of noise, out of few distinct contents."""
    rng = np.random.default_rng(0)
    contents = []
    for k in range(CONTENTS):
        soundfile.write(root / "one.flac", rng.normal(0, 0.1, 1600 + 200 * k), 16_000, subtype="PCM_16")
        contents.append((root / "one.flac").read_bytes())
    (root / "one.flac").unlink()
    lines = []
    for number in range(num_files):
        speaker = 1000 + number // UTTERANCES
        folder = root / "small" / str(speaker) / "1"
        if number % UTTERANCES == 0:
            folder.mkdir(parents=True)
            lines.append(f"{speaker} | {'FM'[speaker % 2]} | small | 0.1 | Noise\n")
        (folder / f"{speaker}-1-{number % UTTERANCES:04d}.flac").write_bytes(random.Random(number).choice(contents))
    (root / "SPEAKERS.TXT").write_text("".join(lines))


def forget(root: Path) -> None:
    """Drops the files of a corpus from the system's page cache, and nothing else from it."""
    os.sync()
    for path in root.rglob("*.*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(name: str, root: Path, scratch: Path, cold: bool = False) -> Run:
    """Indexes in a process of its own; `cold`: neither in the page cache nor in the index's own."""
    if cold:
        forget(root)
    result = run(python("benchmarks.corpus_index", "--index", root, "--cache", scratch / "cache"), scratch / "log.txt")
    rate = result.clips / result.seconds
    print(f"{name:<28}{result.clips:>8} files{result.seconds:>9.2f} s{rate:>9.0f} files/s{result.peak_mb:>7.0f} MB", flush=True)
    return result


def index(root: Path, cache: Path) -> None:
    """What is measured; its clock starts after the imports."""
    started, cpu_started = time.perf_counter(), time.process_time()
    found = read_corpus(root, cache=cache)
    num_files = sum(1 for _ in found.utterances())
    seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu_started
    print(json.dumps({"seconds": seconds, "cpu_s": cpu_s, "clips": num_files}))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, default=os.environ.get("LIBRISPEECH_ROOT"), help="a real one, to be read too")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--scratch", type=Path, help="where files are made and removed (about 0.5 GB); default: TMPDIR")
    parser.add_argument("--index", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.index:
        index(arguments.index, arguments.cache)
        return 0
    runs: dict[str, Run] = {}
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as temp:
        scratch = Path(temp)
        if arguments.corpus:
            runs["real"] = measure("real, cold", arguments.corpus, scratch, cold=True)
            runs["real again"] = measure("real, index cached", arguments.corpus, scratch)
        for size in SIZES:
            root = scratch / str(size)
            root.mkdir()
            write_corpus(root, size)
            runs[f"{size}"] = measure(f"{size} small, cold", root, scratch, cold=True)
            runs[f"{size} again"] = measure(f"{size} small, index cached", root, scratch)
    small, large = (runs[str(size)] for size in SIZES)
    growth = (large.seconds / large.clips) / (small.seconds / small.clips)
    print(f"time a file, {SIZES[1]} over {SIZES[0]} files: {growth:.2f} (1 is linear)")
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"growth": growth, "runs": {name: asdict(item) for name, item in runs.items()}}, indent=1)
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
