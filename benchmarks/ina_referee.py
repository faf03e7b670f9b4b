# SPDX-License-Identifier: Apache-2.0
"""inaSpeechSegmenter 0.6.8's own chain (energy, voice activity, gender, each with Viterbi) on a file of recordings; prints JSON.

    /tmp/ina/bin/python benchmarks/ina_referee.py SET.npz

runs in an environment of its own (ina-requirements.txt) and imports nothing of this project. Nothing of the package is patched;
only ffmpeg is left out, which would turn the WAV that it is given into the same WAV. For each recording: seconds of female and
of male speech.
"""

import contextlib
import json
import os
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import soundfile


def main() -> None:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    warnings.filterwarnings("ignore")
    from inaSpeechSegmenter import Segmenter
    from inaSpeechSegmenter.features import _wav2feats

    with np.load(sys.argv[1]) as file:
        parts = np.split(file["pcm16"], np.cumsum(file["lengths"])[:-1])
    segmenter = Segmenter(ffmpeg=sys.executable, batch_size=256)  # it asks only whether there is such a program
    seconds = []
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        wav = str(Path(folder) / "recording.wav")
        for pcm16 in parts:
            soundfile.write(wav, pcm16, 16000)
            segments = segmenter.segment_feats(*_wav2feats(wav), 0)
            seconds.append([sum(end - start for name, start, end in segments if name == label) for label in ("female", "male")])
    print(json.dumps(seconds))


main()
