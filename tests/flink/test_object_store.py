# SPDX-License-Identifier: Apache-2.0
"""The nodes that read and write an object store, with a real one, and with one that refuses."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from small_demo import ANY_MODEL, SMALL
from tfx.types import Artifact, standard_artifacts

from beam_jobs.clip_store import read_reference
from beam_jobs.config import ClipsConfig
from beam_jobs.corpus.contents import duplicates, read_contents
from beam_jobs.corpus.digest import corpus_digest
from beam_jobs.corpus.index import SpeakerIndex
from beam_jobs.corpus.readers import INDEX_FILE
from beam_jobs.dataset import DatasetInfo, fingerprint
from beam_jobs.dataset_folders import datasets_below
from beam_jobs.errors import UserError
from beam_jobs.files import open_file
from beam_jobs.filesystems import set_filesystem_options
from beam_jobs.generate_clips import DEFAULT_BEAM_OPTIONS
from beam_jobs.object_store import check_reachable
from components.clip_example_gen.artifact import Clips
from components.clip_example_gen.executor import Executor as ClipExampleGenExecutor
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


def generate(corpus: str, datasets: str, clips: ClipsConfig, folder: Path) -> str:
    """As the node ClipGenerator runs it; returns where the dataset lies."""
    counts = {f"num_{split}_clips": count for split, count in clips.num_clips.model_dump().items()}
    properties = {
        "corpus_uri": corpus,
        "dataset_uri": datasets,
        "clips": clips.model_dump_json(),
        "labelling": "{}",
        "subsets": "null",
    }
    said = {name: standard_artifacts.String() for name in ("dataset", "fingerprint")}
    for name, artifact in said.items():
        artifact.uri = str(folder / name)
    outputs: dict[str, list[Artifact]] = {name: [artifact] for name, artifact in said.items()}
    ClipGeneratorExecutor().Do({}, outputs, {**properties, **counts, "beam_options": json.dumps(DEFAULT_BEAM_OPTIONS)})
    return str(said["dataset"].value)


def artifacts_of_example_gen(folder: Path) -> dict[str, list[Artifact]]:
    """What the node ClipExampleGen is to publish."""
    outputs: dict[str, list[Artifact]] = {"examples": [standard_artifacts.Examples()], "clips": [Clips()]}
    for name, (artifact,) in outputs.items():
        artifact.uri = str(folder / name)
    return outputs


@pytest.mark.usefixtures("credentials")
def test_a_corpus_in_the_store_becomes_a_dataset_in_the_store_and_examples(
    s3: S3Server, speech: SpeakerIndex, few_clips: ClipsConfig, expected_few: DatasetInfo, tmp_path: Path
) -> None:
    corpus, datasets = s3.upload(Path(speech.root), "steps/corpus"), f"s3://{BUCKET}/steps/clips"
    with pytest.raises(UserError, match=f"{INDEX_FILE}: .*corpus info ROOT --json {INDEX_FILE}"):
        generate(corpus, datasets, few_clips, tmp_path)
    s3.client().put_object(Bucket=BUCKET, Key=f"steps/corpus/{INDEX_FILE}", Body=speech.to_json().encode())

    dataset = generate(corpus, datasets, few_clips, tmp_path)
    before = fingerprint(dataset)
    assert generate(corpus, datasets, few_clips, tmp_path) == dataset  # it is there
    assert fingerprint(dataset) == before

    # The corpus grows, as retraining's does: another dataset beside the first, which stays.
    grown = replace(speech, speakers=speech.speakers[:-1])
    s3.client().put_object(Bucket=BUCKET, Key=f"steps/corpus/{INDEX_FILE}", Body=grown.to_json().encode())
    other = generate(corpus, datasets, few_clips, tmp_path)
    assert other != dataset and {place.rpartition("/")[0] for place in (dataset, other)} == {datasets}
    assert set(datasets_below(datasets)) == {place.rpartition("/")[2] for place in (dataset, other)}
    assert fingerprint(dataset) == before

    outputs = artifacts_of_example_gen(tmp_path)
    properties = {"dataset_uri": dataset, "fingerprint": "", "min_class_share": 0.0}
    ClipExampleGenExecutor(
        ClipExampleGenExecutor.Context(beam_pipeline_args=list(DEFAULT_BEAM_OPTIONS), tmp_dir=str(tmp_path))
    ).Do({}, outputs, properties)
    (examples,), (clips,) = outputs["examples"], outputs["clips"]
    assert read_reference(clips.uri).shards == expected_few.shards
    assert examples.get_string_custom_property("dataset_fingerprint") == before
    found = sorted(path.name for path in (tmp_path / "examples/Split-train").iterdir())
    assert found == sorted(Path(shard.file).name for shard in expected_few.shards if shard.split == "train")


def test_a_recording_that_is_replaced_in_the_store_makes_another_corpus(s3: S3Server, index: SpeakerIndex) -> None:
    set_filesystem_options(s3.beam_options)
    there = replace(index, root=s3.upload(Path(index.root), "replaced"))
    first, *_, last = index.utterances()
    before = read_contents(there)
    assert list(before) == [utterance.path for utterance in index.utterances()]
    assert not duplicates(there, before)

    content = bytearray((Path(index.root) / first.path).read_bytes())
    content[-1] ^= 1
    s3.client().put_object(Bucket=BUCKET, Key=f"replaced/{first.path}", Body=bytes(content))
    assert corpus_digest(there, read_contents(there)) != corpus_digest(there, before)

    s3.client().put_object(Bucket=BUCKET, Key=f"replaced/{first.path}", Body=(Path(index.root) / first.path).read_bytes())
    assert corpus_digest(there, read_contents(there)) == corpus_digest(there, before)

    s3.client().put_object(Bucket=BUCKET, Key=f"replaced/{last.path}", Body=(Path(index.root) / first.path).read_bytes())
    assert [[item.id for _, item in group] for group in duplicates(there, read_contents(there))] == [[first.id, last.id]]


def test_an_address_where_none_of_the_corpus_is(s3: S3Server, index: SpeakerIndex) -> None:
    set_filesystem_options(s3.beam_options)
    with pytest.raises(UserError, match="nowhere: none of the corpus's 36 files is there; check the address"):
        read_contents(replace(index, root=f"s3://{BUCKET}/nowhere"))


# What a process does that has made no Beam pipeline yet, which is what gives Beam's filesystems their options.


@pytest.fixture(scope="module")
def stored(s3: S3Server, speech: SpeakerIndex) -> str:
    """A corpus in the store, with its index."""
    corpus = s3.upload(Path(speech.root), "fresh/corpus")
    s3.client().put_object(Bucket=BUCKET, Key=f"fresh/corpus/{INDEX_FILE}", Body=speech.to_json().encode())
    return corpus


@pytest.fixture(scope="module")
def config(few_clips: ClipsConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "config.json"
    path.write_text(json.dumps({"clips": few_clips.model_dump(mode="json"), "data": {"min_class_share": 0.1}}))
    return path


def in_new_process(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]


STEP = """
import json, sys
from tfx.types import Artifact, standard_artifacts
from components.clip_generator.executor import Executor
said = {name: [standard_artifacts.String()] for name in ("dataset", "fingerprint")}
for name, (artifact,) in said.items():
    artifact.uri = f"{sys.argv[1]}/{name}"
Executor().Do({}, said, json.loads(sys.argv[2]))
"""


def as_clip_generator(corpus: str, dataset: str, config: Path, folder: Path, beam_options: list[str]) -> list[str]:
    clips = json.loads(config.read_text())["clips"]
    counts = {f"num_{split}_clips": count for split, count in clips["num_clips"].items()}
    properties = {"corpus_uri": corpus, "dataset_uri": dataset, "clips": json.dumps(clips), "labelling": "{}", "subsets": "null"}
    values = {**properties, **counts, "beam_options": json.dumps([*DEFAULT_BEAM_OPTIONS, *beam_options])}
    return [sys.executable, "-c", STEP, str(folder), json.dumps(values)]


def as_cron_job(corpus: str, dataset: str, config: Path, folder: Path, beam_options: list[str]) -> list[str]:
    program = str(Path(sys.executable).parent / "audio-gender")
    settings = [f"--config={config}", f"--corpus={corpus}", f"--output={dataset}", "--own-folder"]
    return [program, "clips", "generate", *settings, "--", *beam_options]


def as_beam_job(corpus: str, dataset: str, config: Path, folder: Path, beam_options: list[str]) -> list[str]:
    index = f"--index={corpus}/{INDEX_FILE}"
    settings = [f"--config={config}", f"--corpus={corpus}", index, f"--output={dataset}"]
    return [sys.executable, "-m", "beam_jobs.generate_clips", *settings, *beam_options]


@pytest.mark.parametrize("options_from", ["the environment", "Beam's options"])
@pytest.mark.parametrize("command", [as_clip_generator, as_cron_job, as_beam_job])
def test_a_new_process_reads_the_index_from_the_store(
    command: Callable[..., list[str]],
    options_from: str,
    s3: S3Server,
    stored: str,
    config: Path,
    expected_few: DatasetInfo,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    if options_from == "the environment":
        request.getfixturevalue("credentials")
    beam_options = s3.beam_options if options_from == "Beam's options" else []
    dataset = f"fresh/{command.__name__}/{len(beam_options)}"

    in_new_process(*command(stored, f"s3://{BUCKET}/{dataset}", config, tmp_path, beam_options))

    keys = [found["Key"] for found in s3.client().list_objects_v2(Bucket=BUCKET, Prefix=f"{dataset}/")["Contents"]]
    (key,) = (key for key in keys if key.endswith("/dataset_info.json"))
    info = json.loads(s3.client().get_object(Bucket=BUCKET, Key=key)["Body"].read())
    assert [shard["sha256"] for shard in info["shards"]] == [shard.sha256 for shard in expected_few.shards]


@pytest.fixture(scope="module")
def dataset(stored: str, s3: S3Server, config: Path) -> str:
    """A dataset in the store."""
    address = f"s3://{BUCKET}/fresh/dataset"
    in_new_process(
        *AUDIO_GENDER,
        "clips",
        "generate",
        "--config",
        str(config),
        "--corpus",
        stored,
        "--output",
        address,
        "--",
        *s3.beam_options,
    )
    return address


AUDIO_GENDER = (sys.executable, "-m", "pipeline")


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize(
    "words",
    [
        "corpus info CORPUS --json index.json",
        "corpus info CORPUS --html corpus.html",
        "corpus listen CORPUS -n 2 --html page.html",
        "clips inspect DATASET -n 2 --html clips.html",
        "clips describe DATASET --croissant croissant.json",
        "run --config CONFIG --corpus CORPUS --workdir work --dry-run",
    ],
)
def test_every_command_that_takes_an_address_opens_it_as_the_first_thing_that_its_process_does(
    words: str, stored: str, dataset: str, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    given = {"CORPUS": stored, "DATASET": dataset, "CONFIG": str(config)}

    in_new_process(*AUDIO_GENDER, *(given.get(word, word) for word in words.split()))

    for name in (word for word in words.split() if Path(word).suffix):
        assert (tmp_path / name).stat().st_size > 0


@pytest.mark.usefixtures("credentials")
def test_files_that_are_read_at_the_same_time_share_a_client_and_nothing_else(s3: S3Server, tmp_path: Path) -> None:
    contents = [bytes([k]) * (30_000 + k) for k in range(40)]
    for k, content in enumerate(contents):
        (tmp_path / f"{k}.bin").write_bytes(content)
    root = s3.upload(tmp_path, "many")

    def read(k: int) -> bytes:
        with open_file(f"{root}/{k}.bin") as file:
            return file.read()

    read(0)
    started = time.process_time()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, range(40))) == contents
    # A client for each file took 0.06 s and more.
    assert (time.process_time() - started) / 40 < 0.03


@pytest.mark.usefixtures("credentials")
def test_an_address_without_a_dataset_is_one_line(tmp_path: Path) -> None:
    properties = {"dataset_uri": f"s3://{BUCKET}/nothing/here", "fingerprint": "", "min_class_share": 0.0}
    context = ClipExampleGenExecutor.Context(beam_pipeline_args=list(DEFAULT_BEAM_OPTIONS), tmp_dir=str(tmp_path))
    with pytest.raises(UserError, match=f"^s3://{BUCKET}/nothing/here: not a dataset .dataset_info.json is missing."):
        ClipExampleGenExecutor(context).Do({}, artifacts_of_example_gen(tmp_path), properties)


@pytest.mark.usefixtures("credentials")
def test_a_store_that_refuses_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    check_reachable(f"s3://{BUCKET}/clips")
    with pytest.raises(UserError, match="no bucket nowhere; make it"):
        check_reachable("s3://nowhere/clips")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(UserError, match=r"refuses \(HTTP status 403\); check AWS_ACCESS_KEY_ID"):
        check_reachable(f"s3://{BUCKET}/clips")


@pytest.mark.usefixtures("credentials")
def test_the_commands_of_the_laptop_take_a_corpus_in_the_store(stored: str, speech: SpeakerIndex, tmp_path: Path) -> None:
    def call(*arguments: str) -> str:
        program = str(Path(sys.executable).parent / "audio-gender")
        done = subprocess.run([program, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout + done.stderr

    run = ["run", "--config=demo", f"--corpus={stored}", *(f"--set={setting}" for setting in [*SMALL, *ANY_MODEL])]

    assert re.search(rf"^all +{len(speech.speakers)} ", call("corpus", "info", stored), re.MULTILINE)
    call("corpus", "listen", stored, "-n", "2", "--html", "listen.html")
    assert (tmp_path / "listen.html").read_text().count("<audio") == 2
    assert f"in {stored}" in call(*run, "--dry-run")
    assert not (tmp_path / "work").exists()
    assert "pushed" in call(*run)
    assert len(list((tmp_path / "work/serving").glob("[0-9]*"))) == 1
