# SPDX-License-Identifier: Apache-2.0
"""Clips made on a real Flink cluster and in a real S3 server: the same bytes as on a laptop."""

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from apache_beam.io.filesystems import FileSystems
from cluster import FlinkCluster
from s3_server import BUCKET, S3Server

from beam_jobs.config import ClipsConfig
from beam_jobs.corpus.index import SpeakerIndex
from beam_jobs.dataset import INFO_FILE, DatasetInfo, read_dataset_info
from beam_jobs.errors import UserError
from beam_jobs.generate_clips import generate_clips

pytestmark = pytest.mark.skipif(
    os.environ.get("RUN_FLINK") != "1", reason="needs Java 17, Maven and some minutes: make test-flink"
)


def checksums(folder: str) -> dict[str, str]:
    """SHA-256 of each shard and of its index, read from where they lie."""
    found = {}
    for file in FileSystems.match([FileSystems.join(folder, "**")])[0].metadata_list:
        if file.path.endswith((".tfrecord", ".index")):
            with FileSystems.open(file.path) as opened:
                found[file.path.removeprefix(f"{folder}/")] = hashlib.sha256(opened.read()).hexdigest()
    return found


def promised(info: DatasetInfo) -> dict[str, str]:
    return {name: sha256 for shard in info.shards for name, (_, sha256) in shard.contents.items()}


def test_flink_makes_what_direct_runner_makes(
    cluster: FlinkCluster, speech: SpeakerIndex, clips: ClipsConfig, expected: DatasetInfo, tmp_path: Path
) -> None:
    output = str(tmp_path / "clips")

    info = generate_clips(clips, speech, output, cluster.beam_options)

    assert info == expected
    assert checksums(output) == promised(expected)
    assert cluster.newest_job()["state"] == "FINISHED"


# An object store


def test_output_on_s3(s3: S3Server, speech: SpeakerIndex, few_clips: ClipsConfig, expected_few: DatasetInfo) -> None:
    output = f"s3://{BUCKET}/output"

    assert generate_clips(few_clips, speech, output, s3.beam_options) == expected_few

    assert read_dataset_info(output) == expected_few
    assert checksums(output) == promised(expected_few)
    objects = {item["Key"] for item in s3.client().list_objects_v2(Bucket=BUCKET, Prefix="output/")["Contents"]}
    others = {"clips.csv", "rejected.csv", "dataset_info.json"}
    assert objects == {f"output/{name}" for name in promised(expected_few).keys() | others}


def as_from(info: DatasetInfo, expected: DatasetInfo) -> DatasetInfo:
    """A store's listing tells its corpus by ETags, so that it is another one than that on the disk; the clips are the same."""
    assert info.corpus_fingerprint != expected.corpus_fingerprint
    return expected.model_copy(update={"corpus_fingerprint": info.corpus_fingerprint})


def test_corpus_and_output_on_s3(s3: S3Server, speech: SpeakerIndex, few_clips: ClipsConfig, expected_few: DatasetInfo) -> None:
    there = replace(speech, root=s3.upload(Path(speech.root), "corpus"))

    info = generate_clips(few_clips, there, f"s3://{BUCKET}/from-corpus", s3.beam_options)

    assert info == as_from(info, expected_few)


def test_corpus_and_output_on_s3_on_flink(
    s3: S3Server, cluster: FlinkCluster, speech: SpeakerIndex, few_clips: ClipsConfig, expected_few: DatasetInfo
) -> None:
    there = replace(speech, root=s3.upload(Path(speech.root), "corpus"))
    output = f"s3://{BUCKET}/from-flink"

    info = generate_clips(few_clips, there, output, [*cluster.beam_options, *s3.beam_options])

    assert info == as_from(info, expected_few)
    assert checksums(output) == promised(expected_few)


def test_a_bucket_that_is_not_there(s3: S3Server, speech: SpeakerIndex, few_clips: ClipsConfig) -> None:
    with pytest.raises(UserError, match=r"^s3://nowhere/clips: the object store has no bucket nowhere; make it"):
        generate_clips(few_clips, speech, "s3://nowhere/clips", s3.beam_options)


# A lost machine


@contextmanager
def reader_of(output: Path, expected: DatasetInfo) -> Iterator[list[str]]:
    """Looks at the output all the time, as a reader would: what it ever saw that was not whole."""
    sizes = {output / shard.file: shard.num_bytes for shard in expected.shards}
    not_whole: list[str] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(0.005):
            described = (output / INFO_FILE).exists()
            found = {path: path.stat().st_size for path in sizes if path.exists()}
            not_whole.extend(path.name for path, size in found.items() if size != sizes[path])
            if described and found != sizes:
                not_whole.append(INFO_FILE)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield not_whole
    finally:
        stop.set()
        thread.join()


def finished_shards(output: Path, expected: DatasetInfo) -> dict[Path, int]:
    """Modification times of the shards that are there under their final names."""
    return {path: path.stat().st_mtime_ns for shard in expected.shards if (path := output / shard.file).exists()}


def test_a_killed_taskmanager_changes_nothing(
    cluster: FlinkCluster, speech: SpeakerIndex, clips: ClipsConfig, expected: DatasetInfo, tmp_path: Path
) -> None:
    output = tmp_path / "clips"
    with ThreadPoolExecutor(1) as pool, reader_of(output, expected) as not_whole:
        job = pool.submit(generate_clips, clips, speech, str(output), cluster.beam_options)
        while len(finished_shards(output, expected)) < 3 and not job.done():
            time.sleep(0.01)
        finished = finished_shards(output, expected)
        cluster.kill_taskmanager(0)
        killed_at = time.monotonic()
        info = job.result()

    print(f"\nkilled after {len(finished)} of {len(expected.shards)} shards; done {time.monotonic() - killed_at:.0f} s later")
    assert 0 < len(finished) < len(expected.shards)
    assert cluster.num_restarts(cluster.newest_job()["jid"]) >= 1
    assert info == expected
    assert checksums(str(output)) == promised(expected)
    assert not_whole == []
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert {path.name for path in output.iterdir()} == {"train", "eval", "test", "clips.csv", "rejected.csv", INFO_FILE}
    cluster.start_taskmanager(0)
