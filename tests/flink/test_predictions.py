# SPDX-License-Identifier: Apache-2.0
"""Predictions on a real Flink cluster and in a real S3 server: the same rows as on a laptop."""

import json
import os
from pathlib import Path

import pytest
import soundfile
from cluster import FlinkCluster
from s3_server import BUCKET, S3Server
from training_inputs import voice
from untrained import serve_untrained

from beam_jobs.filesystems import FileSystems
from beam_jobs.predict import find_recordings, main, predict
from beam_jobs.running import DEFAULT_BEAM_OPTIONS
from components.inference.beam_handler import RecordingHandler

pytestmark = pytest.mark.skipif(
    os.environ.get("RUN_FLINK") != "1", reason="needs Java 17, Maven and some minutes: make test-flink"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("serving") / "1"
    serve_untrained("conv3d", ["male", "female"]).save(str(folder))
    return str(folder)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real speech where LIBRISPEECH_ROOT says there is some, tones elsewhere; and a damaged file."""
    folder = tmp_path_factory.mktemp("recordings")
    root = os.environ.get("LIBRISPEECH_ROOT")
    for number, path in enumerate(sorted(Path(root).rglob("*.flac"))[:8] if root else ()):
        (folder / f"{number}.flac").write_bytes(path.read_bytes())
    if not root:
        for number in range(8):
            soundfile.write(folder / f"{number}.flac", voice(number % 2, number, 16_000, 8000), 8000)
    (folder / "damaged.flac").write_bytes(b"fLaC")
    return folder


def rows(folder: str) -> dict[str, str]:
    """The lines of all shards by the name of their recording."""
    found = {}
    for file in FileSystems.match([FileSystems.join(folder, "predictions-*")])[0].metadata_list:
        with FileSystems.open(file.path) as shard:
            for line in shard.read().decode().splitlines():
                row = json.loads(line)
                name = row.pop("file").rpartition("/")[2]
                found[name] = json.dumps(row)
    return found


@pytest.fixture(scope="module")
def expected(recordings: Path, model: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    output = str(tmp_path_factory.mktemp("expected") / "out")
    predict(find_recordings([str(recordings)]), RecordingHandler(model), output, "jsonl", 2, DEFAULT_BEAM_OPTIONS)
    return rows(output)


def test_flink_says_what_direct_runner_says(
    cluster: FlinkCluster, recordings: Path, model: str, expected: dict[str, str], tmp_path: Path
) -> None:
    output = str(tmp_path / "out")

    said = predict(find_recordings([str(recordings)]), RecordingHandler(model), output, "jsonl", 2, cluster.beam_options)

    assert (said["recordings"], said["errors"]) == (9, 1)
    assert rows(output) == expected
    assert cluster.newest_job()["state"] == "FINISHED"


def test_recordings_and_output_on_s3(s3: S3Server, recordings: Path, model: str, expected: dict[str, str]) -> None:
    there, output = s3.upload(recordings, "recordings"), f"s3://{BUCKET}/predictions"
    options = ["--model", model, "--format", "jsonl", "--recordings-per-shard", "2", *s3.beam_options]

    assert main(["--input", there, "--output", output, *options]) == 0

    assert rows(output) == expected
    objects = {item["Key"] for item in s3.client().list_objects_v2(Bucket=BUCKET, Prefix="predictions/")["Contents"]}
    shards = {f"predictions/predictions-{index:05d}-of-00005.jsonl" for index in range(5)}
    assert objects == shards | {"predictions/summary.json"}
