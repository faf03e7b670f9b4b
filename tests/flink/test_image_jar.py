# SPDX-License-Identifier: Apache-2.0
"""The image's jar on a Flink as its distribution is, with Beam's own worker pool beside the TaskManager: as `k8s/base` has it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from cluster import FLINK_CONF, JOBMANAGER, LOG4J_CONF, FlinkCluster
from processes import CACHE, answers

from beam_jobs.config import ClipsConfig
from beam_jobs.corpus.index import SpeakerIndex
from beam_jobs.dataset import DatasetInfo
from beam_jobs.generate_clips import generate_clips

pytestmark = pytest.mark.skipif(
    os.environ.get("RUN_FLINK") != "1", reason="needs Java 17, Maven and some minutes: make test-flink"
)

POM = Path(__file__).parents[2] / "k8s" / "image" / "job-server.xml"


def build_jar() -> Path:
    """By the Dockerfile's command, into the cache if it is not there."""
    folder = CACHE / "job-server"
    jar, built = folder / "target" / "flink-job-server.jar", folder / "built.xml"
    if not built.exists() or built.read_bytes() != POM.read_bytes():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(POM, folder / "pom.xml")
        subprocess.run(["mvn", "--batch-mode", "--quiet", "package"], cwd=folder, check=True, timeout=900)
        shutil.copyfile(POM, built)
    return jar


class PlainFlink(FlinkCluster):
    """One JobManager and one TaskManager that know nothing of Beam, and no job server."""

    @property
    def beam_options(self) -> list[str]:
        """As in `k8s/base/clips.yaml`."""
        return [
            "--runner=FlinkRunner",
            f"--flink_master=127.0.0.1:{self._rest_port}",
            "--flink_submit_uber_jar",
            f"--flink_job_server_jar={build_jar()}",
            "--parallelism=2",
            "--environment_type=EXTERNAL",
            f"--environment_config=localhost:{self._pool_port}",
            "--environment_cache_millis=60000",
            "--sdk_worker_parallelism=2",
        ]

    def __enter__(self) -> Self:
        self._jars: list[Path] = [jar for jar in self._jars if not jar.name.startswith("beam-")]
        for name in ("blobs", "tmp"):
            (self.folder / name).mkdir(parents=True)
        conf = FLINK_CONF.format(folder=self.folder, rest_port=self._rest_port, rpc_port=self._rpc_port)
        # Flink's default, which the job's own jar needs beside Flink's libraries.
        (self.folder / "flink-conf.yaml").write_text(conf.replace("parent-first", "child-first"))
        (self.folder / "log4j2.properties").write_text(LOG4J_CONF)
        worker = self.folder / "audio-gender-beam-worker"  # the image has it on its PATH
        worker.write_text(f'#!/bin/sh\nexec {sys.executable} -m beam_jobs.worker "$@"\n')
        worker.chmod(0o755)
        options = [f"--service_port={self._pool_port}", f"--container_executable={worker}"]
        pool = [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main", *options]
        try:
            self._java("jobmanager", JOBMANAGER, "--configDir", str(self.folder), "--executionMode", "cluster")
            self._processes.start("workerpool", pool)
            self.start_taskmanager(0)
            self._processes.wait_until(lambda: self.num_taskmanagers() == 1, "TaskManager")
            self._processes.wait_until(lambda: answers(self._pool_port), "worker pool")
        except BaseException:
            self._processes.stop()
            raise
        return self


@pytest.fixture
def plain_flink(tmp_path: Path) -> Iterator[PlainFlink]:
    for program, name in (("java", "Java 17"), ("mvn", "Maven")):
        if not shutil.which(program):
            pytest.skip(f"needs {name}: no `{program}` on the PATH")
    with PlainFlink(tmp_path / "flink") as cluster:
        yield cluster


def test_the_images_jar_makes_what_direct_runner_makes(
    plain_flink: PlainFlink, speech: SpeakerIndex, few_clips: ClipsConfig, expected_few: DatasetInfo, tmp_path: Path
) -> None:
    info = generate_clips(few_clips, speech, str(tmp_path / "clips"), plain_flink.beam_options)

    assert info == expected_few
    assert plain_flink.newest_job()["state"] == "FINISHED"
