# SPDX-License-Identifier: Apache-2.0
"""A Flink session cluster with Beam's job server and a pool of Python workers, as processes on 127.0.0.1.

    with FlinkCluster(folder) as cluster:
        generate_clips(clips, index, output, cluster.beam_options)
        cluster.kill_taskmanager(0)

The processes are those of a standalone Flink: one JobManager, two TaskManagers. Memory is sized for tests.
"""

import json
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from processes import CACHE, Processes, answers, free_port

POM = Path(__file__).with_name("pom.xml")
WORKER_POOL = Path(__file__).with_name("worker_pool.py")

JOBMANAGER = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
TASKMANAGER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
JOB_SERVER = "org.apache.beam.runners.flink.FlinkJobServerDriver"

# What Flink's own start scripts and config.yaml say for Java 17.
JAVA_OPTIONS = [
    *("-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:MaxDirectMemorySize=512m"),
    *("--add-exports=java.base/sun.net.util=ALL-UNNAMED", "--add-exports=java.rmi/sun.rmi.registry=ALL-UNNAMED"),
    *(
        f"--add-opens=java.base/{package}=ALL-UNNAMED"
        for package in (
            *("java.lang", "java.lang.reflect", "java.net", "java.io", "java.nio", "sun.nio.ch", "java.text", "java.time"),
            *("java.util", "java.util.concurrent", "java.util.concurrent.atomic", "java.util.concurrent.locks"),
        )
    ),
]

# A TaskManager that is started by its class has no memory defaults. Each blocking exchange of a batch job takes 16 MB of
# network memory by default, and TFX's steps have dozens of them. A lost TaskManager costs two or three restarts: the first
# still goes to where it was.
FLINK_CONF = """\
jobmanager.rpc.address: 127.0.0.1
jobmanager.rpc.port: {rpc_port}
jobmanager.bind-host: 127.0.0.1
rest.address: 127.0.0.1
rest.bind-address: 127.0.0.1
rest.port: {rest_port}
taskmanager.host: 127.0.0.1
taskmanager.bind-host: 127.0.0.1
taskmanager.numberOfTaskSlots: 2
taskmanager.cpu.cores: 2
taskmanager.memory.framework.heap.size: 128m
taskmanager.memory.framework.off-heap.size: 128m
taskmanager.memory.task.heap.size: 256m
taskmanager.memory.task.off-heap.size: 64m
taskmanager.memory.network.min: 256m
taskmanager.memory.network.max: 256m
taskmanager.network.sort-shuffle.min-buffers: 64
taskmanager.memory.managed.size: 128m
taskmanager.memory.jvm-metaspace.size: 256m
taskmanager.memory.jvm-overhead.min: 64m
taskmanager.memory.jvm-overhead.max: 64m
cluster.evenly-spread-out-slots: true
restart-strategy.type: fixed-delay
restart-strategy.fixed-delay.attempts: 10
restart-strategy.fixed-delay.delay: 1 s
jobmanager.execution.failover-strategy: full
heartbeat.interval: 1000
heartbeat.timeout: 6000
classloader.resolve-order: parent-first
blob.storage.directory: {folder}/blobs
io.tmp.dirs: {folder}/tmp
"""

LOG4J_CONF = """\
rootLogger.level = INFO
rootLogger.appenderRef.console.ref = Console
appender.console.type = CONSOLE
appender.console.name = Console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{HH:mm:ss.SSS} %-5p %c{1} - %m%n
"""


def fetch_jars() -> list[Path]:
    """The jars of `pom.xml`, fetched from Maven Central into the cache if they are not there."""
    folder = CACHE / "flink" / "jars"
    listed = folder / POM.name
    if not listed.exists() or listed.read_bytes() != POM.read_bytes():
        print(f"fetching Flink's and Beam's jars (about 150 MB) into {folder}")
        shutil.rmtree(folder, ignore_errors=True)
        copy = ["dependency:copy-dependencies", f"-DoutputDirectory={folder}", "-DincludeScope=runtime"]
        subprocess.run(["mvn", "--batch-mode", "--quiet", "--file", POM, *copy], check=True, timeout=900)
        shutil.copyfile(POM, listed)  # last: a folder without it is not whole
    return sorted(folder.glob("*.jar"))


class FlinkCluster:
    """A running cluster, as a context manager. Logs, configuration and temporary files lie in `folder`."""

    def __init__(self, folder: Path, num_taskmanagers: int = 2) -> None:
        self.folder = folder
        self._num_taskmanagers = num_taskmanagers
        self._jars = fetch_jars()
        self._rest_port, self._rpc_port, self._job_port, self._artifact_port, self._pool_port = (free_port() for _ in range(5))
        self._processes = Processes(folder)

    @property
    def beam_options(self) -> list[str]:
        """What a Beam job needs to run here. Without the cache a Python worker is started anew for each stage."""
        return [
            "--runner=PortableRunner",
            f"--job_endpoint=127.0.0.1:{self._job_port}",
            "--environment_type=EXTERNAL",
            f"--environment_config=127.0.0.1:{self._pool_port}",
            "--environment_cache_millis=60000",
            f"--parallelism={self._num_taskmanagers}",
        ]

    def __enter__(self) -> Self:
        for name in ("blobs", "tmp", "artifacts"):
            (self.folder / name).mkdir(parents=True)
        conf = FLINK_CONF.format(folder=self.folder, rest_port=self._rest_port, rpc_port=self._rpc_port)
        (self.folder / "flink-conf.yaml").write_text(conf)
        (self.folder / "log4j2.properties").write_text(LOG4J_CONF)
        try:
            self._java("jobmanager", JOBMANAGER, "--configDir", str(self.folder), "--executionMode", "cluster")
            self._start_job_server()
            self._processes.start("workerpool", [sys.executable, WORKER_POOL, str(self._pool_port)])
            for number in range(self._num_taskmanagers):
                self.start_taskmanager(number)
            self._processes.wait_until(lambda: self.num_taskmanagers() == self._num_taskmanagers, "TaskManagers")
            self._processes.wait_until(lambda: answers(self._job_port), "job server")
            self._processes.wait_until(lambda: answers(self._pool_port), "worker pool")
        except BaseException:
            self._processes.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._processes.stop()

    def start_taskmanager(self, number: int) -> None:
        """Starts a TaskManager, which registers itself when it is ready."""
        resource_id = f"taskmanager.resource-id=tm{number}-{time.time_ns()}"
        self._java(f"taskmanager{number}", TASKMANAGER, "--configDir", str(self.folder), "-D", resource_id)

    def kill_taskmanager(self, number: int) -> None:
        """`kill -9`."""
        self._processes.kill(f"taskmanager{number}")

    def num_taskmanagers(self) -> int:
        """How many TaskManagers the JobManager counts; none while it does not answer."""
        try:
            return int(self.rest("/overview")["taskmanagers"])
        except OSError:
            return 0

    def newest_job(self) -> dict[str, Any]:
        """What Flink says of the job that was started last: `jid`, `state`, …."""
        return max(self.rest("/jobs/overview")["jobs"], key=lambda job: job["start-time"])

    def num_restarts(self, job: str) -> int:
        """How often Flink started a job's tasks again; its metric of that name lags by 10 s."""
        vertices = [vertex["id"] for vertex in self.rest(f"/jobs/{job}")["vertices"]]
        subtasks = [subtask for vertex in vertices for subtask in self.rest(f"/jobs/{job}/vertices/{vertex}")["subtasks"]]
        return max(int(subtask["attempt"]) for subtask in subtasks)

    def rest(self, path: str) -> Any:
        """An answer of Flink's REST API."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._rest_port}{path}", timeout=10) as response:
            return json.load(response)

    def _java(self, name: str, main: str, *arguments: str, classpath: list[str] | None = None) -> None:
        settings = [f"-Dlog4j.configurationFile={self.folder}/log4j2.properties", f"-Djava.io.tmpdir={self.folder}/tmp"]
        classpath = classpath or ["-cp", ":".join(map(str, self._jars))]
        self._processes.start(name, ["java", "-Xmx512m", *JAVA_OPTIONS, *settings, *classpath, main, *arguments])

    def _start_job_server(self) -> None:
        # The job server uploads every jar of its class path with each job, 150 MB. The cluster has them all, so only those
        # that ask for a class loader of their own are on it (12 MB); the rest is on the boot class path.
        uploaded = {jar for jar in self._jars if re.match(r"beam-runners-flink|flink-(?!shaded|rpc-akka-loader)", jar.name)}
        rest = [jar for jar in self._jars if jar not in uploaded]
        self._java(
            "jobserver",
            JOB_SERVER,
            *("--job-host=127.0.0.1", f"--job-port={self._job_port}", f"--artifact-port={self._artifact_port}"),
            *("--expansion-port=-1", f"--artifacts-dir={self.folder}/artifacts"),
            *(f"--flink-master=127.0.0.1:{self._rest_port}", f"--flink-conf-dir={self.folder}"),
            classpath=["-Xbootclasspath/a:" + ":".join(map(str, rest)), "-cp", ":".join(map(str, sorted(uploaded)))],
        )
