# SPDX-License-Identifier: Apache-2.0
"""No Beam executor makes a package of TFX's source: 45 MB and a second each, left in the temporary folder."""

import importlib
import tempfile
from pathlib import Path

import pytest
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor

EXECUTORS = sorted(
    f"components.{path.parent.name}.executor"
    for path in (Path(__file__).parents[2] / "components").glob("*/executor.py")
    if "beam_pipeline" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("module", EXECUTORS)
def test_an_executor_with_options_leaves_nothing_behind(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    executor = importlib.import_module(module).Executor
    assert issubclass(executor, BaseBeamExecutor)

    made = executor(executor.Context(beam_pipeline_args=["--runner=DirectRunner"]))

    assert "--runner=DirectRunner" in made._beam_pipeline_args
    assert not [option for option in made._beam_pipeline_args if option.startswith("--extra_package")]
    assert list(tmp_path.iterdir()) == []
