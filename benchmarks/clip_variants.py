# SPDX-License-Identifier: Apache-2.0
"""One run of one variant, in the process that `measure.run` starts:

`python -m benchmarks.clip_variants VARIANT INDEX OUTPUT CLIPS RATE …`.

Prints {"seconds", "clips"} for what comes after the imports, the corpus index and, but for the job, the planning.
"""

import argparse
import json
import resource
import time
from pathlib import Path

from beam_jobs.corpus.index import SpeakerIndex
from benchmarks.draws import FIRST, plans, settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant", choices=["job", "article", "floor"])
    parser.add_argument("index", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("clips", type=int)
    parser.add_argument("rate", type=int)
    parser.add_argument("--part", default="0/1", help="N/M: the first clips, and of the others every M-th from the N-th on")
    parser.add_argument("--workers", type=int, default=0, help="worker processes of the job; 0: in this one")
    arguments = parser.parse_args()

    index = SpeakerIndex.from_json(arguments.index.read_text(), arguments.index)
    clips = settings(arguments.clips, arguments.rate)
    if arguments.variant == "job":
        from beam_jobs.generate_clips import generate_clips

        mode = "multi_processing" if arguments.workers else "in_memory"
        options = ["--runner=DirectRunner", f"--direct_running_mode={mode}", f"--direct_num_workers={arguments.workers or 1}"]
        started = _clocks()
        generate_clips(clips, index, str(arguments.output), options)
        number = arguments.clips
    else:
        part, parts = map(int, arguments.part.split("/"))
        everything = plans(clips, index)
        drawn = everything[:FIRST] + everything[FIRST + part :: parts]
        number = len(drawn)
        if arguments.variant == "article":
            from benchmarks import article_baseline

            started = _clocks()
            article_baseline.make_clips(drawn, index.root, arguments.output)
        else:
            from benchmarks import floor_baseline

            started = _clocks()
            floor_baseline.make_clips(drawn, index.root, arguments.output, 2 * clips.num_samples)
    seconds, cpu_s = (after - before for after, before in zip(_clocks(), started, strict=True))
    # Worker processes are not this one's to count: they may end after it has.
    print(json.dumps({"seconds": seconds, "clips": number} | ({} if arguments.workers else {"cpu_s": cpu_s})))


def _clocks() -> tuple[float, float]:
    """Wall clock, and CPU time of this process and of the children that have ended (ffmpeg)."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return time.perf_counter(), sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    main()
