# SPDX-License-Identifier: Apache-2.0
"""What `benchmarks.fortnight` cannot do is one line."""

import subprocess
import sys
from pathlib import Path

import benchmarks


def test_a_folder_that_has_a_fortnight_is_refused(tmp_path: Path) -> None:
    corpus, output = tmp_path / "LibriSpeech", tmp_path / "output"
    corpus.mkdir()
    (corpus / "SPEAKERS.TXT").write_text("; ID | SEX | SUBSET\n")
    (output / "corpus" / "train-clean-100").mkdir(parents=True)
    command = [sys.executable, "-m", "benchmarks.fortnight", "--corpus", str(corpus), "--output", str(output)]

    done = subprocess.run(command, cwd=Path(benchmarks.__path__[0]).parent, capture_output=True, text=True)

    assert done.returncode == 2 and "Traceback" not in done.stderr
    told = f"{output}: holds a fortnight already; give another folder, or move its `work` into one"
    assert done.stderr.splitlines()[-1].endswith(told)
    assert [path.name for path in output.iterdir()] == ["corpus"]
