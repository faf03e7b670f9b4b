# SPDX-License-Identifier: Apache-2.0
"""What commands cost that only read: `python -m benchmarks.start_up [--workdir DIR]`. What is measured: README.md."""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.corpus_index import write_corpus

FILES = 240


def cpu_s(*arguments: str | Path) -> float:
    """CPU time of a command and of what it starts, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Nobody is to be shown the page.
    subprocess.run([sys.executable, *map(str, arguments)], check=True, capture_output=True, env={**os.environ, "BROWSER": "true"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdir", type=Path, help="with a finished run; without it `runs` and `review` are left out")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder)
        write_corpus(corpus, FILES)
        program = ("-m", "pipeline")
        commands: dict[str, tuple[str | Path, ...]] = {
            "python": ("-c", "pass"),
            "--help": (*program, "--help"),
            f"corpus info, {FILES} files": (*program, "corpus", "info", corpus),
        }
        if arguments.workdir:
            commands["runs"] = (*program, "runs", "--workdir", arguments.workdir)
            commands["review"] = (*program, "review", "--no-open", "--workdir", arguments.workdir)
        commands["import tensorflow"] = ("-c", "import tensorflow")
        rounds = [{name: cpu_s(*command) for name, command in commands.items()} for _ in range(arguments.rounds)]
    found = {name: median(one[name] for one in rounds) for name in commands}
    print(f"{'':<24}{'CPU s':>8}{'x --help':>10}")
    for name, seconds in found.items():
        print(f"{name:<24}{seconds:>8.2f}{seconds / found['--help']:>10.1f}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"cpu_s": found, "rounds": rounds}, indent=1))


if __name__ == "__main__":
    main()
