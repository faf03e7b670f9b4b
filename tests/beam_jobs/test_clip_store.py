# SPDX-License-Identifier: Apache-2.0
"""Reading clips of a local dataset by reference; from a real object store in tests/flink/test_data_by_reference.py."""

import dataclasses
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from clip_datasets import framed, reference_to, write_dataset

from beam_jobs.clip_store import ClipsReference, ClipStore, read_reference, stream_shard, write_reference
from beam_jobs.errors import UserError
from beam_jobs.examples import Clip, decode_clip, encode_clip

SIZES = {"train": (3, 1, 5), "eval": (2, 4), "test": (4,)}


def make_clip(name: str, seed: int) -> Clip:
    samples = np.random.default_rng(seed).integers(-9000, 9000, 4000, dtype=np.int16)
    return Clip(name, seed % 2, "sequential", (f"{seed}",), (f"{seed}-1",), -20.5, 0.75, 8000, samples.astype("<i2"))


@pytest.fixture(scope="module")
def clips() -> dict[str, list[list[Clip]]]:
    """By split and shard."""
    return {
        split: [[make_clip(f"{split}-{shard}{k}", 10 * shard + k) for k in range(size)] for shard, size in enumerate(sizes)]
        for split, sizes in SIZES.items()
    }


@pytest.fixture
def dataset(clips: dict[str, list[list[Clip]]], tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "clips", clips)


@pytest.fixture
def reference(dataset: Path) -> ClipsReference:
    return reference_to(dataset)


def test_a_shard_is_streamed_in_its_order(reference: ClipsReference, clips: dict[str, list[list[Clip]]]) -> None:
    for shard, expected in zip(reference.of_split("train"), clips["train"], strict=True):
        assert list(stream_shard(reference, shard)) == [encode_clip(clip) for clip in expected]


def test_single_clips_are_found_by_the_index(reference: ClipsReference, clips: dict[str, list[list[Clip]]]) -> None:
    with ClipStore(reference) as store:
        found = store.records("train", {"train-24", "train-00", "train-10", "nowhere"})
        entries = list(store.entries("eval"))

    assert found == {clip.id: encode_clip(clip) for clip in (clips["train"][0][0], clips["train"][1][0], clips["train"][2][4])}
    assert [entry.clip.id for entry in entries] == [clip.id for shard in clips["eval"] for clip in shard]
    assert all(entry.clip.pcm16.size == 0 for entry in entries)


@pytest.mark.parametrize("count", [1, 4, 7, 100])
def test_some_clips_are_taken_from_all_shards_in_turn(reference: ClipsReference, count: int) -> None:
    with ClipStore(reference) as store:
        names = [decode_clip(record).id for record in store.spread("train", count)]
    assert (
        names
        == ["train-00", "train-10", "train-20", "train-01", "train-21", "train-02", "train-22", "train-23", "train-24"][:count]
    )


def test_no_more_indexes_are_read_than_there_are_clips_to_take(dataset: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(dataset, tmp_path / "copy")
    reference = ClipsReference.of_dataset(str(copy))
    with ClipStore(reference) as store:
        (copy / reference.of_split("train")[2].index_file).unlink()
        assert [decode_clip(record).id for record in store.spread("train", 2)] == ["train-00", "train-10"]
        with pytest.raises(UserError, match="cannot be read"):
            list(store.spread("train", 3))


def test_a_reference_comes_back_as_it_was_with_its_folder_from_the_root_on(
    reference: ClipsReference, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "artifact").mkdir()
    write_reference(reference.model_copy(update={"dataset_uri": "clips"}), str(tmp_path / "artifact"))
    monkeypatch.chdir(tmp_path)
    assert read_reference("artifact") == reference
    with pytest.raises(UserError, match=r"^artifact/no: no clips.json of this version; make a new run$"):
        read_reference("artifact/no")


def other_clips(dataset: Path, shard: Path, clips: list[Clip]) -> None:
    """The same sizes, other voices: every record whole."""
    shard.write_bytes(framed([dataclasses.replace(clip, pcm16=-clip.pcm16) for clip in clips])[0])


def cut(dataset: Path, shard: Path, clips: list[Clip]) -> None:
    shard.write_bytes(shard.read_bytes()[:-1])


def empty(dataset: Path, shard: Path, clips: list[Clip]) -> None:
    shard.write_bytes(b"")


def flip(dataset: Path, shard: Path, clips: list[Clip]) -> None:
    content = bytearray(shard.read_bytes())
    content[500] ^= 1
    shard.write_bytes(content)


def lose(dataset: Path, shard: Path, clips: list[Clip]) -> None:
    shard.unlink()


@pytest.mark.parametrize("change", [other_clips, cut, empty, flip, lose])
def test_what_changed_since_the_check_is_refused_before_and_while_it_is_read(
    change, reference: ClipsReference, dataset: Path, clips: dict[str, list[list[Clip]]]
) -> None:
    store = ClipStore(reference)  # opened before
    shard = reference.of_split("train")[0]
    change(dataset, dataset / shard.file, clips["train"][0])

    with pytest.raises(UserError, match=rf"^{dataset}: the dataset was changed since it was checked; .*differs: {shard.file}\)$"):
        ClipStore(reference)
    with pytest.raises(UserError, match=rf"^{dataset}/{shard.file}: .*; the dataset was changed since it was checked"):
        list(stream_shard(reference, shard))
    if change is not other_clips:  # of whose single records nothing but the whole shard's checksum tells
        with pytest.raises(UserError, match=rf"^{dataset}/{shard.file}: "):
            store.records("train", {clip.id for clip in clips["train"][0]})


def bytes_read() -> int:
    """By this process so far, as the kernel counts them."""
    return int(re.findall(r"rchar: (\d+)", Path("/proc/self/io").read_text())[0])


def test_files_that_were_only_touched_are_what_was_checked_and_are_read_once(reference: ClipsReference, dataset: Path) -> None:
    paths = [dataset / shard.file for shard in reference.shards]
    size = sum(path.stat().st_size for path in paths)
    read = []
    with ClipStore(reference) as store:
        for path in paths:
            path.chmod(0o640)
            os.link(path, path.with_suffix(".hard link"))
        for _ in range(3):
            before = bytes_read()
            store.check_files()
            read.append(bytes_read() - before)
    assert read[0] >= size > 10 * max(read[1:])


@contextmanager
def as_nobody() -> Iterator[None]:
    """As a user who may not read everything: root may."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_file_that_this_user_may_not_read_says_so(reference: ClipsReference, dataset: Path) -> None:
    store, shard = ClipStore(reference), reference.of_split("eval")[0]
    for file, read in (
        (shard.file, lambda: list(stream_shard(reference, shard))),
        (shard.index_file, lambda: store.index(shard)),
    ):
        (dataset / file).chmod(0)
        says = rf"^{dataset}/{file}: .*cannot be read \(Permission denied\); see to it that this user may read it"
        with as_nobody(), pytest.raises(UserError, match=says):
            read()


def test_an_index_that_was_changed_is_refused(reference: ClipsReference, dataset: Path) -> None:
    store = ClipStore(reference)
    shard = reference.of_split("train")[1]
    path = dataset / shard.index_file
    path.write_bytes(path.read_bytes()[::-1])
    with pytest.raises(UserError, match=rf"^{path}: its checksum is not the one in dataset_info.json"):
        store.records("train", {"train-10"})
