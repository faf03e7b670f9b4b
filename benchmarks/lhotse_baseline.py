# SPDX-License-Identifier: Apache-2.0
"""(f) Lhotse mixing the same cuts in memory. A script of its own: `python lhotse_baseline.py CUTS.json`, in Lhotse's environment.

The cuts are built before the clock starts; what is timed is `load_audio`, which decodes, applies the gains, and mixes.
Prints {"seconds", "clips"} as JSON.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from lhotse import AudioSource, MonoCut, Recording
from lhotse.cut import MixedCut, MixTrack


def build(parts: list[dict[str, Any]], duration_s: float = 60.0) -> Any:
    tracks = []
    for number, part in enumerate(parts):
        rate = part["rate_hz"]
        recording = Recording(
            id=f"{number}-{Path(part['path']).stem}",
            sources=[AudioSource("file", [0], part["path"])],
            sampling_rate=rate,
            num_samples=part["file_samples"],
            duration=part["file_samples"] / rate,
        )
        cut = MonoCut(recording.id, part["offset"] / rate, part["num_samples"] / rate, channel=0, recording=recording)
        tracks.append(MixTrack(cut.perturb_volume(10 ** (part["gain_db"] / 20)), offset=part["start_s"]))
    return MixedCut("clip", tracks).pad(duration=duration_s)


def main() -> None:
    clips = [build(parts) for parts in json.loads(Path(sys.argv[1]).read_text())]
    clips[0].load_audio()
    started, cpu = time.perf_counter(), time.process_time()
    for clip in clips:
        clip.load_audio()
    print(json.dumps({"seconds": time.perf_counter() - started, "cpu_s": time.process_time() - cpu, "clips": len(clips)}))


if __name__ == "__main__":
    main()
