"""The nodes that read and write an object store, with a real one, and with one that refuses."""

import json
import os
from pathlib import Path

import pytest
from tfx.types import standard_artifacts

from beam_jobs.config import ClipsConfig
from beam_jobs.corpus.index import SpeakerIndex
from beam_jobs.dataset import DatasetInfo, fingerprint
from beam_jobs.errors import UserError
from beam_jobs.generate_clips import DEFAULT_BEAM_OPTIONS
from beam_jobs.object_store import check_reachable
from components.clip_example_gen.executor import Executor as ClipExampleGenExecutor
from components.clip_generator.executor import INDEX_FILE
from components.clip_generator.executor import Executor as ClipGeneratorExecutor
from tests.flink.s3_server import ACCESS_KEY, BUCKET, REGION, SECRET_KEY, S3Server

pytestmark = pytest.mark.skipif(os.environ.get("RUN_FLINK") != "1", reason="needs Go and some minutes: make test-flink")


@pytest.fixture
def credentials(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment that a step's pod has."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)


def generate(corpus: str, dataset: str, clips: ClipsConfig) -> None:
    """As the node ClipGenerator runs it."""
    counts = {f"num_{split}_clips": count for split, count in clips.num_clips.model_dump().items()}
    properties = {"corpus_uri": corpus, "dataset_uri": dataset, "clips": clips.model_dump_json(), "subsets": "null"}
    ClipGeneratorExecutor().Do({}, {}, {**properties, **counts, "beam_options": json.dumps(DEFAULT_BEAM_OPTIONS)})


@pytest.mark.usefixtures("credentials")
def test_a_corpus_in_the_store_becomes_a_dataset_in_the_store_and_examples(
    s3: S3Server, speech: SpeakerIndex, few_clips: ClipsConfig, expected_few: DatasetInfo, tmp_path: Path
) -> None:
    corpus, dataset = s3.upload(Path(speech.root), "steps/corpus"), f"s3://{BUCKET}/steps/clips"
    with pytest.raises(UserError, match=f"{INDEX_FILE}: .*corpus info ROOT --json {INDEX_FILE}"):
        generate(corpus, dataset, few_clips)
    s3.client().put_object(Bucket=BUCKET, Key=f"steps/corpus/{INDEX_FILE}", Body=speech.to_json().encode())

    generate(corpus, dataset, few_clips)
    before = fingerprint(dataset)
    generate(corpus, dataset, few_clips)  # it is there
    assert fingerprint(dataset) == before

    examples = standard_artifacts.Examples()
    examples.uri = str(tmp_path / "examples")
    properties = {"dataset_uri": dataset, "fingerprint": "", "min_class_share": 0.0}
    ClipExampleGenExecutor(
        ClipExampleGenExecutor.Context(beam_pipeline_args=list(DEFAULT_BEAM_OPTIONS), tmp_dir=str(tmp_path))
    ).Do({}, {"examples": [examples]}, properties)
    assert examples.get_string_custom_property("dataset_fingerprint") == before
    found = sorted(path.name for path in (tmp_path / "examples/Split-train").iterdir())
    assert found == sorted(Path(shard.file).name for shard in expected_few.shards if shard.split == "train")


@pytest.mark.usefixtures("credentials")
def test_an_address_without_a_dataset_is_one_line(tmp_path: Path) -> None:
    examples = standard_artifacts.Examples()
    examples.uri = str(tmp_path / "examples")
    properties = {"dataset_uri": f"s3://{BUCKET}/nothing/here", "fingerprint": "", "min_class_share": 0.0}
    context = ClipExampleGenExecutor.Context(beam_pipeline_args=list(DEFAULT_BEAM_OPTIONS), tmp_dir=str(tmp_path))
    with pytest.raises(UserError, match=f"^s3://{BUCKET}/nothing/here: not a dataset, dataset_info.json is not there"):
        ClipExampleGenExecutor(context).Do({}, {"examples": [examples]}, properties)


@pytest.mark.usefixtures("credentials")
def test_a_store_that_refuses_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    check_reachable(f"s3://{BUCKET}/clips")
    with pytest.raises(UserError, match="no bucket nowhere; make it"):
        check_reachable("s3://nowhere/clips")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(UserError, match=r"refuses \(HTTP status 403\); check AWS_ACCESS_KEY_ID"):
        check_reachable(f"s3://{BUCKET}/clips")
