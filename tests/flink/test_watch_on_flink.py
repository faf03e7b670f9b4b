# SPDX-License-Identifier: Apache-2.0
"""`audio-gender watch` on a real Flink cluster and a real S3 server: it says what it says here."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cluster import FlinkCluster
from request_logs import DAY_S, at, drawn, write_log, write_serving
from s3_server import BUCKET, S3Server

from components.watch.check import check
from components.watch.config import WatchConfig
from components.watch.records import CANARY

pytestmark = pytest.mark.skipif(
    os.environ.get("RUN_FLINK") != "1", reason="needs Java 17, Maven, Go and some minutes: make test-flink"
)


def written(folder: Path) -> Path:
    """A log of five days: recordings change on the last, a file is torn, and another version answered some requests."""
    rng = np.random.default_rng(12)
    for day in range(1, 5):
        write_log(folder, at(drawn(rng, 400), day))
    (torn, *_) = write_log(folder, at(drawn(rng, 400, shift=1.0, sure=0.7), 0.5))
    torn.write_bytes(torn.read_bytes()[:-17])
    write_log(folder, at([dataclasses.replace(record, version=4) for record in drawn(rng, 50)], 2.5))
    canary = drawn(np.random.default_rng(1), 300)[0]
    write_log(folder, [dataclasses.replace(canary, path=CANARY, version=5, time_s=time.time() - DAY_S)])
    return folder


def watched(tmp_path: Path, *settings: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline", "watch", "--log=log", "--serving=serving", "--json=-"]
    return subprocess.run([*command, *settings], cwd=tmp_path, capture_output=True, text=True)


def test_flink_says_what_direct_runner_says(cluster: FlinkCluster, s3: S3Server, tmp_path: Path) -> None:
    write_serving(tmp_path / "serving")
    written(tmp_path / "log")
    shared, jobs = tmp_path / "shared", len(cluster.rest("/jobs/overview")["jobs"])
    options = [*cluster.beam_options, f"--temp_location={shared}"]

    there, here = watched(tmp_path, "--set", f"beam.pipeline={json.dumps(options)}"), watched(tmp_path)

    assert (there.returncode, here.returncode) == (3, 3), there.stderr[-2000:]
    assert len(cluster.rest("/jobs/overview")["jobs"]) == jobs + 1 and cluster.newest_job()["state"] == "FINISHED"
    assert list(shared.iterdir()) == []
    found, wanted = json.loads(there.stdout), json.loads(here.stdout)
    assert wanted["requests"] == 1999 and len(wanted["days"]) >= 4 and wanted["skew"]["asked"] == 1
    assert "50 requests were answered by version 4; left out" in wanted["notes"]
    assert same_but_for_the_clock(found) == same_but_for_the_clock(wanted)

    by_s3 = check(
        *(tmp_path / "serving", tmp_path / "log", time.time() - 7 * DAY_S, None, WatchConfig()),
        *([*s3.beam_options, f"--temp_location=s3://{BUCKET}/watch"], str(tmp_path / "unused")),
    )
    assert same_but_for_the_clock(json.loads(by_s3.result.model_dump_json())) == same_but_for_the_clock(wanted)
    assert "Contents" not in s3.client().list_objects_v2(Bucket=BUCKET, Prefix="watch/")

    # Its options give the workers the store's credentials, which a configuration may not hold.
    options = [*cluster.beam_options, *s3.beam_options, f"--temp_location=s3://{BUCKET}/flink-watch"]
    both = check(
        *(tmp_path / "serving", tmp_path / "log", time.time() - 7 * DAY_S, None, WatchConfig()),
        *(options, str(tmp_path / "unused")),
    )
    assert len(cluster.rest("/jobs/overview")["jobs"]) == jobs + 2 and cluster.newest_job()["state"] == "FINISHED"
    assert same_but_for_the_clock(json.loads(both.result.model_dump_json())) == same_but_for_the_clock(wanted)
    assert "Contents" not in s3.client().list_objects_v2(Bucket=BUCKET, Prefix="flink-watch/")


def same_but_for_the_clock(result: dict[str, Any]) -> dict[str, Any]:
    """A result with sums to nine digits, because they are added up in another order."""

    def rounded(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: rounded(item) for key, item in value.items()}
        if isinstance(value, list):
            return [rounded(item) for item in value]
        return float(f"{value:.9g}") if isinstance(value, float) else value

    return {key: rounded(value) for key, value in result.items() if key not in ("since", "until")}


def test_a_cluster_without_a_temporary_location_is_one_line(tmp_path: Path) -> None:
    write_serving(tmp_path / "serving")
    written(tmp_path / "log")

    done = watched(tmp_path, "--set", "beam.pipeline=[--runner=PortableRunner, --job_endpoint=127.0.0.1:9]")

    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "beam.pipeline has --runner=PortableRunner and no --temp_location; add one" in done.stderr
