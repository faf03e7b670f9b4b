# SPDX-License-Identifier: Apache-2.0
"""Files on any of Beam's filesystems."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import free_port

from beam_jobs.files import create, fsync


def test_a_synced_file_can_be_read_by_others_before_it_is_closed(tmp_path):
    with create(str(tmp_path / "a")) as file:
        file.write(b"whole")
        fsync(file)
        assert (tmp_path / "a").read_bytes() == b"whole"


def test_what_is_no_local_file_syncs_itself():
    fsync(io.BytesIO(b"an object store's stream has no file number either"))


def test_no_other_library_is_changed() -> None:
    code = """
import botocore.session
before = botocore.session.create_loader
import beam_jobs.filesystems
assert botocore.session.create_loader is before
"""
    pytest.importorskip("boto3", reason="needs boto3, the extra `s3`")
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_new_process_asks_the_store_that_beams_options_name(make_config: Callable, tmp_path: Path) -> None:
    pytest.importorskip("boto3", reason="needs boto3, the extra `s3`")
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"clips": make_config().model_dump(mode="json")}))
    store = f"http://127.0.0.1:{free_port()}"
    places = ["--corpus=s3://b/corpus", "--index=s3://b/index.json", "--output=s3://b/clips"]
    options = [f"--s3_endpoint_url={store}", "--s3_access_key_id=a", "--s3_secret_access_key=b", "--s3_region_name=us-east-1"]

    command = [sys.executable, "-m", "beam_jobs.generate_clips", f"--config={config}", *places, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)

    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: s3://b/index.json: Could not connect to the endpoint URL")
    assert store in line
