# SPDX-License-Identifier: Apache-2.0
"""The runner of this machine, in a process that was started with arguments of its own."""

import sys
from pathlib import Path

import pytest
from tfx.orchestration.pipeline import Pipeline

from beam_jobs.errors import UserError
from components.clip_example_gen.component import ClipExampleGen
from pipeline.local_runner import run_pipeline
from pipeline.workdir import WorkDir


@pytest.mark.parametrize("arguments", [["-v"], ["--verbosity"], ["--stderrthreshold=none"]])
def test_arguments_of_the_process_are_none_of_an_executors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["notebook", *arguments])
    pipeline = Pipeline(
        pipeline_name="one-node",
        pipeline_root=str(tmp_path / "tfx"),
        components=[ClipExampleGen(dataset_uri=str(tmp_path / "clips"), fingerprint="", min_class_share=0.2)],
        metadata_connection_config=WorkDir(tmp_path).connection(),
        beam_pipeline_args=["--runner=DirectRunner", "--direct_running_mode=in_memory"],
    )

    with pytest.raises(UserError, match="clips: not a dataset"):
        run_pipeline(pipeline, "run", before=lambda *_: None, after=lambda *_: None)
    assert sys.argv == ["notebook", *arguments]
