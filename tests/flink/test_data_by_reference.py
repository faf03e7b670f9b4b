# SPDX-License-Identifier: Apache-2.0
"""What each step of a run reads from a real S3 server, counted between the two; and the scratch folder of training."""

import os
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from counting_proxy import CountingProxy
from small_demo import ANY_MODEL, SMALL
from small_disks import small_file_system

from beam_jobs.clip_store import ClipsReference, ClipStore, stream_shard
from beam_jobs.clip_store.scratch import OPEN_SHARDS, Scratch
from beam_jobs.config import ClipsConfig
from beam_jobs.corpus.index import SpeakerIndex
from beam_jobs.dataset import DatasetInfo, fingerprint, read_dataset_info
from beam_jobs.errors import UserError
from beam_jobs.filesystems import set_filesystem_options
from beam_jobs.generate_clips import generate_clips
from beam_jobs.running import DEFAULT_BEAM_OPTIONS
from pipeline.config import PipelineConfig, load_config
from tests.flink.s3_server import ACCESS_KEY, BUCKET, REGION, SECRET_KEY, S3Server

pytestmark = pytest.mark.skipif(os.environ.get("RUN_FLINK") != "1", reason="needs Go and some minutes: make test-flink")

SETTINGS = [
    *SMALL,
    *ANY_MODEL,
    "clips.num_clips={train: 240, eval: 48, test: 48}",
    "clips.clips_per_shard=12",
    "clips.train_voice=null",
    "clips.train_channel=null",
    "train.epochs=3",
]


@pytest.fixture(scope="module")
def proxy(s3: S3Server) -> Iterator[CountingProxy]:
    """Between this process and the server; everything here that opens `s3://` goes through it."""
    options = [f"--s3_region_name={REGION}", f"--s3_access_key_id={ACCESS_KEY}", f"--s3_secret_access_key={SECRET_KEY}"]
    with CountingProxy(int(s3.url.rsplit(":", 1)[1])) as proxy, pytest.MonkeyPatch.context() as patch:
        variables = {
            "AWS_ENDPOINT_URL": proxy.url, "AWS_DEFAULT_REGION": REGION, "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        }  # fmt: skip
        for name, value in variables.items():
            patch.setenv(name, value)
        set_filesystem_options([*options, f"--s3_endpoint_url={proxy.url}"])
        yield proxy
        set_filesystem_options([])


@pytest.fixture(scope="module")
def config() -> PipelineConfig:
    return load_config("demo", SETTINGS)


@pytest.fixture(scope="module")
def stored(proxy: CountingProxy, speech: SpeakerIndex, config: PipelineConfig) -> str:
    """The run's dataset, made in the store."""
    dataset = f"s3://{BUCKET}/by-reference/clips"
    generate_clips(config.clips, speech, dataset, DEFAULT_BEAM_OPTIONS)
    return dataset


@pytest.fixture(scope="module")
def info(stored: str) -> DatasetInfo:
    return read_dataset_info(stored)


def disk_usage(folder: Path) -> int:
    """As `du` counts the bytes of files."""
    return int(subprocess.run(["du", "-sb", folder], capture_output=True, check=True).stdout.split()[0])


def size(info: DatasetInfo, *splits: str) -> int:
    return sum(shard.num_bytes for shard in info.shards if not splits or shard.split in splits)


@pytest.fixture(scope="module")
def read(
    proxy: CountingProxy, stored: str, config: PipelineConfig, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Counter[str], Path]:
    """Bytes by step of one run of the whole DAG, and its work folder."""
    from pipeline.dag import RunContext, create_pipeline
    from pipeline.local_runner import run_pipeline
    from pipeline.workdir import WorkDir

    workdir = WorkDir(tmp_path_factory.mktemp("run"))
    context = RunContext(
        dataset_uri=stored,
        dataset_fingerprint=fingerprint(stored),
        pipeline_root=workdir.relative(workdir.tfx),
        serving_uri=workdir.relative(workdir.serving),
        baseline_version="",
    )

    def begin(node: str) -> None:
        proxy.step = node

    proxy.received.clear()
    with workdir.entered():
        run_pipeline(create_pipeline(config, context, workdir.connection()), "1", begin, lambda *_: None)
    proxy.step = ""
    return proxy.received.copy(), workdir.root


def test_each_step_reads_what_it_needs_and_the_run_twice_the_dataset(read: tuple[Counter[str], Path], info: DatasetInfo) -> None:
    received, _ = read
    num_clips = sum(shard.num_records for shard in info.shards)
    clip = size(info) / num_clips
    print(f"\n{num_clips} clips, {size(info):,} bytes; ratio {received.total() / size(info):.3f}")
    for step, number in received.items():
        print(f"{step:22} {number:12,}  {number / size(info):7.4f}")

    for step in ("StatisticsGen", "ClipExampleValidator", "Transform"):
        assert received[step] <= 1000 * num_clips
    assert received["ClipExampleGen"] <= 1.02 * size(info)
    assert received["Trainer"] <= 1.02 * size(info, "train", "eval")
    assert received["Evaluator"] <= 1.02 * size(info, "test")
    assert received["ServingCheck"] <= 10 * clip
    assert received["ReviewReport"] <= 25 * clip
    assert received.total() <= 2.2 * size(info)


def test_what_is_published_is_a_thousandth_of_the_audio_and_no_step_kept_any(
    read: tuple[Counter[str], Path], info: DatasetInfo
) -> None:
    _, workdir = read
    num_clips = sum(shard.num_records for shard in info.shards)
    published = int(
        subprocess.run(["du", "-sb", workdir / "tfx/ClipExampleGen"], capture_output=True, check=True).stdout.split()[0]
    )
    assert published <= 1000 * num_clips
    whole = int(subprocess.run(["du", "-sb", workdir], capture_output=True, check=True).stdout.split()[0])
    assert whole < 25_000_000


def test_a_second_check_reads_no_audio(
    proxy: CountingProxy, stored: str, info: DatasetInfo, config: PipelineConfig, tmp_path: Path, read: object
) -> None:
    """By another pipeline, which knows of the first by the note in the dataset folder alone."""
    from tfx.types import standard_artifacts

    from components.clip_example_gen.artifact import Clips
    from components.clip_example_gen.executor import Executor
    from components.process_arguments import hidden_arguments
    from pipeline.dag import RunContext, create_pipeline

    pipeline = create_pipeline(config, RunContext(stored, fingerprint(stored), "tfx", "serving", ""))
    (node,) = [node for node in pipeline.components if node.id == "ClipExampleGen"]
    examples, clips = standard_artifacts.Examples(), Clips()
    examples.uri, clips.uri = str(tmp_path / "examples"), str(tmp_path / "clips")
    context = Executor.Context(beam_pipeline_args=list(DEFAULT_BEAM_OPTIONS), tmp_dir=str(tmp_path / "tmp"))
    proxy.received.clear()
    with hidden_arguments():
        Executor(context).Do({}, {"examples": [examples], "clips": [clips]}, dict(node.exec_properties))
    assert 0 < proxy.received.total() <= 1000 * sum(shard.num_records for shard in info.shards)


# The scratch folder.


def gigabytes(info: DatasetInfo, shards: int) -> float:
    return shards * max(shard.num_bytes for shard in info.shards) / 1e9


def test_the_scratch_folder_never_holds_more_than_it_may_and_what_fits_is_fetched_once(
    proxy: CountingProxy, stored: str, info: DatasetInfo, tmp_path: Path
) -> None:
    scratch = Scratch(ClipsReference.of_dataset(stored), gigabytes(info, OPEN_SHARDS), str(tmp_path))
    shards = [f"{stored}/{shard.file}" for shard in info.shards if shard.split == "train"]
    most, over = 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not over.wait(0.005):
            most = max(most, sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(2):
        for shard in shards:
            (path,) = scratch.hold(shard)
    over.set()
    watcher.join()
    assert 0 < most <= gigabytes(info, OPEN_SHARDS) * 1e9

    proxy.received.clear()
    for _ in range(3):
        for shard in shards[:OPEN_SHARDS]:
            (path,) = scratch.hold(shard)
            assert Path(path).parent.parent == tmp_path
    assert proxy.received.total() <= 1.02 * OPEN_SHARDS * gigabytes(info, 1) * 1e9
    scratch.close()
    assert not list(tmp_path.iterdir())


def test_a_scratch_folder_that_is_too_small_names_the_setting(stored: str, info: DatasetInfo, tmp_path: Path) -> None:
    scratch = Scratch(ClipsReference.of_dataset(stored), gigabytes(info, 2), str(tmp_path))
    with pytest.raises(UserError, match=rf"data\.scratch_gb \S+ has no room for {OPEN_SHARDS} shards.*set it to \S+ at least"):
        next(scratch.hold(f"{stored}/{info.shards[0].file}"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with small_file_system(tmp_path / "disk", "3m") as disk:
        yield disk


def test_a_disk_that_is_too_small_or_fills_up_names_the_setting(
    proxy: CountingProxy, stored: str, info: DatasetInfo, small_disk: Path
) -> None:
    reference = ClipsReference.of_dataset(stored)
    shards = [reference.location(shard.file) for shard in info.shards]
    with pytest.raises(UserError, match=r"disk: 0.0031 GB are free and data.scratch_gb 20 takes .* set it lower"):
        next(Scratch(reference, 20.0, str(small_disk)).hold(shards[0]))

    subprocess.run(["mount", "-o", "remount,size=99m", str(small_disk)], check=True)
    scratch = Scratch(reference, 20.0, str(small_disk))
    (_,) = scratch.hold(shards[0])
    with (small_disk / "of somebody else").open("wb") as file, suppress(OSError):
        while True:
            file.write(bytes(1 << 20))
    with pytest.raises(UserError, match=r"No space left on device; set data.scratch_gb \(now 20\) lower, or give the step more"):
        for shard in shards:
            (_,) = scratch.hold(shard)


def test_a_shard_that_was_replaced_is_not_read(s3: S3Server, proxy: CountingProxy, few: tuple[str, ClipsReference]) -> None:
    dataset, reference = few
    first, second = [shard for shard in reference.shards if shard.split == "train"][:2]
    key = dataset.removeprefix(f"s3://{BUCKET}/")
    s3.client().copy_object(Bucket=BUCKET, Key=f"{key}/{first.file}", CopySource=f"{BUCKET}/{key}/{second.file}")
    with ClipStore(reference, 1.0) as store:
        assert store.scratch is not None
        with pytest.raises(UserError, match=rf"{first.file}: its checksum is not {first.sha256}; start the run again"):
            next(store.scratch.hold(reference.location(first.file)))
        with pytest.raises(UserError, match=rf"{first.file}: .*start the run again"):
            store.records("train", {store.index(first)[0].clip.id})
        # One that is cut holds nothing of its last clip: the server refuses that range.
        last = store.index(second)[-1]
        head = s3.client().get_object(Bucket=BUCKET, Key=f"{key}/{second.file}")["Body"].read(last.offset)
        s3.client().put_object(Bucket=BUCKET, Key=f"{key}/{second.file}", Body=head)
        with pytest.raises(
            UserError, match=rf"{second.file}: the file ends before clip {last.clip.id} does; .*start the run again"
        ):
            store.records("train", {last.clip.id})


def test_an_object_that_is_gone_is_no_trouble_of_the_store_s(s3: S3Server, few: tuple[str, ClipsReference]) -> None:
    dataset, reference = few
    first, second = [shard for shard in reference.shards if shard.split == "train"][:2]
    key = dataset.removeprefix(f"s3://{BUCKET}/")
    with ClipStore(reference, 1.0) as store:
        clip = store.index(first)[0].clip.id
        for file in (first.file, second.index_file):
            s3.client().delete_object(Bucket=BUCKET, Key=f"{key}/{file}")
        with pytest.raises(
            UserError, match=rf"{first.file}: named in dataset_info.json, .*start the run again.*generate the data"
        ):
            store.records("train", {clip})
        with pytest.raises(UserError, match=rf"{second.index_file}: named in .*start the run again.*generate the dataset again"):
            store.index(second)
        with pytest.raises(UserError, match=rf"{first.file}: named in .*start the run again.*generate the dataset again"):
            list(stream_shard(reference, first))
        assert store.scratch is not None
        with pytest.raises(
            UserError, match=rf"{first.file}: cannot be fetched .*Not Found.*see that it is there.*start the run a"
        ):
            next(store.scratch.hold(reference.location(first.file)))


def test_a_copy_that_somebody_removes_while_it_is_in_use_is_one_line(few: tuple[str, ClipsReference]) -> None:
    _, reference = few
    name = reference.location(reference.shards[0].file)
    with (
        ClipStore(reference, 1.0) as store,
        pytest.raises(UserError, match=rf"this copy of {name} was removed or changed while it was in use; set TMPDIR"),
        store.errors(),
    ):
        assert store.scratch is not None
        for path in store.scratch.hold(name):
            Path(path).unlink()
            Path(path).read_bytes()


@pytest.fixture
def few(proxy: CountingProxy, speech: SpeakerIndex, few_clips: ClipsConfig) -> tuple[str, ClipsReference]:
    dataset = f"s3://{BUCKET}/by-reference/few-{time.monotonic_ns()}"
    generate_clips(few_clips, speech, dataset, DEFAULT_BEAM_OPTIONS)
    return dataset, ClipsReference.of_dataset(dataset)


def test_the_order_from_the_store_is_that_of_local_files(
    proxy: CountingProxy, few: tuple[str, ClipsReference], tmp_path: Path
) -> None:
    import tensorflow as tf

    from components.trainer.input.shards import records_of

    _, reference = few
    names = [reference.location(shard.file) for shard in reference.of_split("train")]
    local = []
    for name, shard in zip(names, reference.of_split("train"), strict=True):
        local.append(str(tmp_path / shard.file))
        Path(local[-1]).parent.mkdir(exist_ok=True)
        with ClipStore(reference) as store:
            (path,) = store.scratch.hold(name)
            Path(local[-1]).write_bytes(Path(path).read_bytes())

    def order(files: list[str], scratch: Scratch | None) -> list[bytes]:
        shuffled = tf.data.Dataset.from_tensor_slices(files).shuffle(len(files), seed=3)
        return list(records_of(shuffled, scratch, 4).as_numpy_iterator())

    with ClipStore(reference) as store:
        assert order(names, store.scratch) == order(local, None)
