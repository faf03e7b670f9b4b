# SPDX-License-Identifier: Apache-2.0
"""A stopped job leaves no half-written file, though a thread of DirectRunner writes on while it ends."""

import threading
from pathlib import Path

import pytest

from beam_jobs import writers
from beam_jobs.running import make_pipeline, tidied


def test_what_a_thread_still_writes_goes_too(tmp_path: Path) -> None:
    began, ended = threading.Event(), []

    def write() -> None:
        number = 0
        try:
            while True:
                with writers.writing() as check:
                    temporary = tmp_path / f"{number}.tmp"
                    temporary.write_text("half")
                    began.set()
                    for _ in range(20):
                        check()
                        threading.Event().wait(0.01)
                    temporary.rename(tmp_path / f"{number}.json")
                number += 1
        except writers.StoppedError as error:
            ended.append(error)

    thread = threading.Thread(target=write)
    with pytest.raises(KeyboardInterrupt), tidied(str(tmp_path), make_pipeline([])):
        thread.start()
        began.wait()
        raise KeyboardInterrupt
    left = sorted(tmp_path.iterdir())
    thread.join(10)

    assert len(ended) == 1 and not thread.is_alive()
    assert [path for path in left if path.suffix == ".tmp"] == []
    assert sorted(tmp_path.iterdir()) == left


def test_the_next_job_writes_again(tmp_path: Path) -> None:
    writers.stop()
    with pytest.raises(writers.StoppedError), writers.writing():
        pass
    with tidied(str(tmp_path), make_pipeline([])), writers.writing():
        (tmp_path / "0.json").write_text("whole")

    assert (tmp_path / "0.json").exists()
