# SPDX-License-Identifier: Apache-2.0
"""The notebook of the docs opens the demo's run, its report and its model."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell

ROOT = Path(__file__).parents[2]


def test_every_cell_of_the_notebook_runs(demo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").symlink_to(demo.workdir)
    recording = next(iter(sorted(demo.workdir.rglob("*.flac"))))
    (tmp_path / "voice.flac").symlink_to(recording)
    monkeypatch.chdir(tmp_path)
    cells = json.loads((ROOT / "docs/notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    codes = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    shell = InteractiveShell()

    answers = []
    for code in codes:
        done = shell.run_cell(code, store_history=False)
        done.raise_error()
        answers.append(done.result)

    (_, verdict, _), metrics, report, (_, classes, _), (segments, prediction) = answers
    assert len(codes) == 5
    assert verdict in ("pushed", "refused", "waiting")
    assert metrics.loc["all", "clips"] > 0
    assert Path(report.src).is_file()
    assert set(prediction.probabilities) == set(classes)
    assert isinstance(segments, pd.DataFrame)
