# SPDX-License-Identifier: Apache-2.0
"""CPU seconds that inaSpeechSegmenter 0.6.8, in its own environment (ina_referee.py), takes for WAV files; prints JSON.

/tmp/ina/bin/python benchmarks/ina_timing.py WARM_UP.wav RECORDING.wav …
"""

import contextlib
import json
import os
import sys
import time
import warnings


def main() -> None:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    warnings.filterwarnings("ignore")
    from inaSpeechSegmenter import Segmenter
    from inaSpeechSegmenter.features import _wav2feats

    segmenter = Segmenter(ffmpeg=sys.executable, batch_size=256)  # it asks only whether there is such a program
    figures = []
    with contextlib.redirect_stdout(sys.stderr):
        for path in sys.argv[1:]:
            cpu, clock = time.process_time(), time.monotonic()
            segments = segmenter.segment_feats(*_wav2feats(path), 0)
            figures.append({"cpu_s": time.process_time() - cpu, "s": time.monotonic() - clock, "segments": len(segments)})
    print(json.dumps(figures[1:]))


main()
