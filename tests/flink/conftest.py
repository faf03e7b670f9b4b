# SPDX-License-Identifier: Apache-2.0
"""A real Flink cluster and a real S3 server, each started once, and what DirectRunner makes of the same settings."""

import os
import shutil
from collections.abc import Iterator

import pytest
from cluster import FlinkCluster
from s3_server import S3Server

from beam_jobs.config import ClipsConfig, NumClips
from beam_jobs.corpus.index import SpeakerIndex
from beam_jobs.corpus.librispeech import read_librispeech
from beam_jobs.dataset import DatasetInfo
from beam_jobs.generate_clips import generate_clips


def need(program: str, name: str) -> None:
    if not shutil.which(program):
        pytest.skip(f"needs {name}: no `{program}` on the PATH")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlinkCluster]:
    """One JobManager, two TaskManagers, a job server and Python workers."""
    need("java", "Java 17")
    need("mvn", "Maven")
    folder = tmp_path_factory.mktemp("flink")
    print(f"\nFlink's logs: {folder}")
    with FlinkCluster(folder) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server with an empty bucket."""
    pytest.importorskip("boto3", reason="needs boto3, the extra `s3`")
    need("go", "Go")
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def speech(request: pytest.FixtureRequest) -> SpeakerIndex:
    """Real speech where LIBRISPEECH_ROOT says there is some, tones elsewhere."""
    root = os.environ.get("LIBRISPEECH_ROOT")
    return read_librispeech(root) if root else request.getfixturevalue("index")


@pytest.fixture(scope="session")
def clips() -> ClipsConfig:
    """128 clips of 10 s in 16 shards."""
    return ClipsConfig(
        seed=7,
        duration_s=10.0,
        num_clips=NumClips(train=112, eval=8, test=8),
        clips_per_shard=8,
        mixed_share=0.2,
        max_utterances=3,
    )


@pytest.fixture(scope="session")
def few_clips(clips: ClipsConfig) -> ClipsConfig:
    """24 of them, in 6 shards."""
    return clips.model_copy(update={"num_clips": NumClips(train=16, eval=4, test=4), "clips_per_shard": 4})


@pytest.fixture(scope="session")
def expected(tmp_path_factory: pytest.TempPathFactory, speech: SpeakerIndex, clips: ClipsConfig) -> DatasetInfo:
    """What DirectRunner makes of `clips`."""
    return generate_clips(clips, speech, str(tmp_path_factory.mktemp("direct") / "clips"))


@pytest.fixture(scope="session")
def expected_few(tmp_path_factory: pytest.TempPathFactory, speech: SpeakerIndex, few_clips: ClipsConfig) -> DatasetInfo:
    """What DirectRunner makes of `few_clips`."""
    return generate_clips(few_clips, speech, str(tmp_path_factory.mktemp("direct") / "few"))
