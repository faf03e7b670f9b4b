# SPDX-License-Identifier: Apache-2.0
"""ClipExampleGen publishes a dataset as it is, or says in one line what is wrong with it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from clip_datasets import contents, framed, reference_to
from tfx.types import standard_artifacts

from beam_jobs.clip_store import read_reference
from beam_jobs.config import ClipsConfig
from beam_jobs.corpus.librispeech import read_librispeech
from beam_jobs.dataset import INFO_FILE, fingerprint, read_dataset_info
from beam_jobs.errors import UserError
from beam_jobs.examples import Clip, Segment, decode_clip, decode_index_entry, frame_record, read_records
from beam_jobs.generate_clips import generate_clips
from components.clip_example_gen.artifact import Clips
from components.clip_example_gen.check import segment_problem
from components.clip_example_gen.executor import Executor
from components.clip_example_gen.note import CHECKED_FILE

CLIPS = ClipsConfig.model_validate(
    {
        "duration_s": 0.5,
        "sample_rate_hz": 8000,
        "num_clips": {"train": 8, "eval": 4, "test": 4},
        "clips_per_shard": 4,
        "max_utterances": 2,
        "pause_s": {"min": 0.0, "max": 0.0},
        "min_speech_s": 0.2,
    }
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset mixed from ten speakers of noise, with two utterances each."""
    corpus = tmp_path_factory.mktemp("corpus")
    lines = []
    for number in range(1, 11):
        (corpus / f"train/{number}/1").mkdir(parents=True)
        for k in range(2):
            path = corpus / f"train/{number}/1/{number}-1-000{k}.flac"
            soundfile.write(path, np.random.default_rng([number, k]).uniform(-0.3, 0.3, 8000), 8000)
        lines.append(f"{number} | {'FM'[number % 2]} | train | 0.02 | Speaker {number}")
    (corpus / "SPEAKERS.TXT").write_text("\n".join(lines))
    dataset = tmp_path_factory.mktemp("clips") / "dataset"
    generate_clips(CLIPS, read_librispeech(corpus), str(dataset))
    return dataset


@pytest.fixture
def dataset(whole: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(whole, tmp_path / "dataset")


def published(dataset: Path, target: Path, min_class_share: float = 0.2, code: str = "") -> dict[str, Any]:
    """What the executor publishes below `target`."""
    outputs = {"examples": standard_artifacts.Examples(), "clips": Clips()}
    for name, artifact in outputs.items():
        artifact.uri = str(target / name)
    context = Executor.Context(beam_pipeline_args=["--direct_running_mode=in_memory"], tmp_dir=str(target / "tmp"))
    properties = {"dataset_uri": str(dataset), "fingerprint": "", "min_class_share": min_class_share, "code": code}
    Executor(context).Do({}, {name: [artifact] for name, artifact in outputs.items()}, properties)
    return outputs


def error_of(dataset: Path, min_class_share: float = 0.2) -> str:
    with pytest.raises(UserError) as caught:
        published(dataset, dataset.parent, min_class_share)
    message = str(caught.value)
    assert "\n" not in message
    assert "[while running" not in message  # Beam's words
    return message


def edit(dataset: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes `dataset_info.json`."""
    path = dataset / INFO_FILE
    info = json.loads(path.read_text())
    change(info)
    path.write_text(json.dumps(info))


def rewrite(dataset: Path, number: int, content: bytes, index: bytes = b"") -> Path:
    """Replaces the bytes of a shard and of its index, and makes `dataset_info.json` say so."""
    shard = read_dataset_info(str(dataset)).shards[number]
    (dataset / shard.file).write_bytes(content)
    (dataset / shard.index_file).write_bytes(index)
    edit(dataset, lambda info: info["shards"][number].update(contents(content, index)))
    return dataset / shard.file


def first_shard(dataset: Path) -> Path:
    return dataset / read_dataset_info(str(dataset)).shards[0].file


def frame(record: bytes) -> bytes:
    return b"".join(frame_record(record))


def test_the_audio_stays_where_it_is_and_all_else_is_published(whole, tmp_path):
    import tensorflow as tf

    published(whole, tmp_path)

    shards = read_dataset_info(str(whole)).shards
    assert sorted(shard.split for shard in shards) == ["eval", "test", "train", "train"]
    for shard in shards:
        (path,) = tmp_path.glob(f"examples/Split-{shard.file.replace('.tfrecord', '')}*")
        entries = [decode_index_entry(record.numpy()) for record in tf.data.TFRecordDataset(str(path))]
        with (whole / shard.file).open("rb") as file:
            clips = [decode_clip(record) for record in read_records(file)]
        without_audio = [replace(clip, pcm16=None, speech_mask=None) for clip in clips]
        assert [replace(entry.clip, pcm16=None) for entry in entries] == without_audio
        assert path.stat().st_size < 1000 * len(clips)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 16 * 1000 + 5000


def test_what_is_published_says_where_it_came_from(whole, tmp_path):
    found = published(whole, tmp_path)

    examples, info = found["examples"], read_dataset_info(str(whole))
    assert json.loads(examples.split_names) == ["train", "eval", "test"]
    assert examples.get_string_custom_property("corpus_fingerprint") == info.corpus_fingerprint
    assert json.loads(examples.get_string_custom_property("counts")) == info.counts
    for artifact in found.values():
        assert artifact.get_string_custom_property("dataset_uri") == str(whole)
        assert artifact.get_string_custom_property("dataset_fingerprint") == fingerprint(str(whole))
    assert read_reference(found["clips"].uri) == reference_to(whole)


def test_an_index_that_leads_elsewhere_is_refused(dataset):
    shard = first_shard(dataset)
    with shard.open("rb") as file:
        clips = [decode_clip(record) for record in read_records(file)]
    content, _ = framed(clips)
    _, index = framed(clips[::-1])
    rewrite(dataset, 0, content, index)
    assert error_of(dataset).startswith(f"{shard}: its clips are not what train/clips-00000-of-00002.index says; generate")


@pytest.mark.parametrize("damage", [lambda index: index[:-1], lambda index: b"x" + index[1:]])
def test_a_damaged_index(dataset, damage):
    index = first_shard(dataset).with_suffix(".index")
    index.write_bytes(damage(index.read_bytes()))
    assert error_of(dataset).startswith(f"{index}: its checksum is not the one in {INFO_FILE}, the file was changed; generate")


# The note that a dataset was checked.


opened: list[str] = []
sys.addaudithook(lambda event, arguments: opened.append(str(arguments[0])) if event == "open" else None)


def shards_read(dataset: Path, target: Path, code: str = "code") -> set[str]:
    """The shards that the executor opens, as Python's own audit tells it."""
    opened.clear()
    published(dataset, target, code=code)
    return {
        str(Path(path).relative_to(dataset)) for path in opened if path.startswith(f"{dataset}/") and path.endswith(".tfrecord")
    }


def all_shards(dataset: Path) -> set[str]:
    return {shard.file for shard in read_dataset_info(str(dataset)).shards}


def test_what_was_checked_is_not_read_again(dataset, tmp_path):
    assert shards_read(dataset, tmp_path / "first") == all_shards(dataset)
    assert shards_read(dataset, tmp_path / "second") == set()

    first, second = (sorted((tmp_path / name / "examples").rglob("*.tfrecord")) for name in ("first", "second"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert len(first) == 4


def touch(dataset: Path, tmp_path: Path) -> Path:
    """The same bytes, size and time of change as a moment ago."""
    shard = first_shard(dataset)
    stat = shard.stat()
    content = shard.read_bytes()
    shard.write_bytes(content)
    os.utime(shard, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    return dataset


def copy(dataset: Path, tmp_path: Path) -> Path:
    subprocess.run(["cp", "-a", dataset, tmp_path / "copy"], check=True)
    return tmp_path / "copy"


def describe_anew(dataset: Path, tmp_path: Path) -> Path:
    edit(dataset, lambda info: info.update(redraws=info["redraws"] + 1))
    return dataset


def damage_the_note(dataset: Path, tmp_path: Path) -> Path:
    (dataset / CHECKED_FILE).write_text("{")
    return dataset


@pytest.mark.parametrize("change", [touch, copy, describe_anew, damage_the_note])
def test_a_note_is_of_use_for_nothing_but_what_was_checked(dataset, tmp_path, change):
    shards_read(dataset, tmp_path / "first")
    now = change(dataset, tmp_path)
    assert shards_read(now, tmp_path / "second") == all_shards(now)


def test_other_code_checks_again(dataset, tmp_path):
    shards_read(dataset, tmp_path / "first")
    assert shards_read(dataset, tmp_path / "second", code="other code") == all_shards(dataset)


def test_a_shard_with_another_content_and_the_old_time_and_size_is_found_out(dataset, tmp_path):
    shards_read(dataset, tmp_path / "first")
    shard = first_shard(dataset)
    stat, content = shard.stat(), bytearray(shard.read_bytes())
    content[1000] ^= 1
    shard.write_bytes(content)
    os.utime(shard, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(UserError, match="its checksum is not the one in"):
        published(dataset, tmp_path / "second", code="code")


def test_a_folder_without_description_is_no_dataset(dataset):
    (dataset / INFO_FILE).unlink()
    make = f"audio-gender clips generate --config FILE --corpus ROOT --output {dataset}"
    message = f"{dataset}: not a dataset ({INFO_FILE} is missing); make one with `{make}`"
    assert error_of(dataset) == message
    assert not (dataset.parent / "examples").exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format_version": 3}'])
def test_a_damaged_description(dataset, text):
    (dataset / INFO_FILE).write_text(text)
    assert error_of(dataset).startswith(f"{dataset}/{INFO_FILE}: damaged")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("split", "x/../../../../elsewhere/.."),
        ("split", "eval"),
        ("file", "../train/clips-00000-of-00001.tfrecord"),
        ("file", "train/../../elsewhere.tfrecord"),
        ("file", "/etc/passwd"),
        ("file", "train/.hidden"),
        ("file", "train/a\nb"),
        ("sha256", "../../x"),
    ],
)
def test_a_description_cannot_lead_out_of_its_folder(dataset, key, value):
    edit(dataset, lambda info: info["shards"][0].update({key: value}))
    assert error_of(dataset).startswith(f"{dataset}/{INFO_FILE}: damaged, shards.0")
    assert not (dataset.parent / "examples").exists()
    assert not list(dataset.parent.glob("**/elsewhere*"))


def test_another_format_version(dataset):
    edit(dataset, lambda info: info.update(format_version=1))
    assert error_of(dataset).startswith(f"{dataset}: dataset of format version 1, but this program reads version 3; ")


def test_a_truncated_shard(dataset):
    shard = first_shard(dataset)
    content = shard.read_bytes()
    shard.write_bytes(content[:-100])
    assert error_of(dataset).startswith(f"{shard}: {len(content) - 100} bytes where {INFO_FILE} says {len(content)}; generate")


@pytest.mark.parametrize("place", [0, 9, 1000, -1])
def test_a_flipped_bit(dataset, place):
    shard = first_shard(dataset)
    content = bytearray(shard.read_bytes())
    content[place] ^= 1
    shard.write_bytes(content)
    assert error_of(dataset).startswith(f"{shard}: its checksum is not the one in {INFO_FILE}, the file was changed; generate")


def test_a_shard_that_is_not_there(dataset):
    shard = first_shard(dataset)
    shard.unlink()
    assert error_of(dataset).startswith(
        f"{shard}: named in {INFO_FILE}, and cannot be read (No such file or directory); generate"
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (lambda records: b"no TFRecord at all", "the length of record 0 is damaged"),
        (lambda records: frame(records[0])[:-10], "the file ends inside record 0"),
        (lambda records: frame(b"\xff\xff no tf.Example"), "not a tf.Example"),
        (lambda records: frame(b""), "feature audio/pcm16 is missing"),
        (lambda records: b"".join(map(frame, records[1:])), f"3 records where {INFO_FILE} says 4"),
    ],
)
def test_records_that_do_not_parse_or_count(dataset, content, problem):
    shard = first_shard(dataset)
    with shard.open("rb") as file:
        records = list(read_records(file))
    rewrite(dataset, 0, content(records))
    assert error_of(dataset).startswith(f"{shard}: {problem}; generate")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"label": 2}, "has label 2, and there are 2 classes"),
        ({"label": -1}, "has label -1, and there are 2 classes"),
        ({"sample_rate_hz": 16000}, "has 4000 samples at 16000 Hz, not 4000 at 8000"),
        ({"pcm16": np.zeros(3999, np.int16)}, "has 3999 samples at 8000 Hz, not 4000 at 8000"),
        ({"speaker_ids": ("999",)}, "holds speaker 999, who is not in split train"),
    ],
)
def test_a_clip_that_is_not_what_the_description_says(dataset, change, problem):
    shard = first_shard(dataset)
    with shard.open("rb") as file:
        clips = [decode_clip(record) for record in read_records(file)]
    clips[1] = replace(clips[1], **change)
    rewrite(dataset, 0, *framed(clips))
    assert error_of(dataset).startswith(f"{shard}: clip {clips[1].id} {problem}; generate")


@pytest.fixture
def both(dataset) -> Clip:
    """A clip of both labels, as a class `mixed` has them."""
    with first_shard(dataset).open("rb") as file:
        clip = decode_clip(next(read_records(file)))
    return replace(clip, label=2, utterance_ids=("a", "b"), segments=(Segment(0, 0.0, 0.2), Segment(1, 0.25, 0.5)))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({}, None),
        ({"segments": ()}, "does not say who speaks when, which the class mixed is learned from"),
        ({"segments": (Segment(0, 0.0, 0.2),)}, "has 1 segments and 2 utterances"),
        ({"segments": (Segment(0, 0.0, 0.2), Segment(1, 0.4, 0.6))}, "has a segment from 0.4 to 0.6 s, and is 0.5 s long"),
        ({"segments": (Segment(0, 0.3, 0.2), Segment(1, 0.4, 0.5))}, "has a segment from 0.3 to 0.2 s, and is 0.5 s long"),
        ({"segments": (Segment(0, np.nan, 0.2), Segment(1, 0.4, 0.5))}, "has a segment from nan to 0.2 s, and is 0.5 s long"),
        ({"segments": (Segment(0, 0.0, 0.2), Segment(0, 0.3, 0.5))}, "has label 2, and its segments 0"),
        ({"label": 1}, "has label 1, and its segments 0, 1"),
        ({"segments": (Segment(0, 0.0, 0.2), Segment(2, 0.3, 0.5))}, "has label 2, and its segments 0, 2"),
    ],
)
def test_segments_agree_with_their_clip(both, change, problem):
    assert segment_problem(replace(both, **change), ["male", "female", "mixed"]) == problem


def test_clips_made_before_segments_are_published_where_nothing_needs_them(dataset, tmp_path):
    with first_shard(dataset).open("rb") as file:
        clips = [decode_clip(record) for record in read_records(file)]
    assert all(segment.label == clip.label for clip in clips for segment in clip.segments)
    rewrite(dataset, 0, *framed([replace(clip, segments=()) for clip in clips]))

    published(dataset, tmp_path / "there")


def test_a_clip_whose_segments_do_not_fit_is_refused(dataset):
    with first_shard(dataset).open("rb") as file:
        clips = [decode_clip(record) for record in read_records(file)]
    clips[2] = replace(clips[2], segments=clips[2].segments * 2)
    rewrite(dataset, 0, *framed(clips))
    assert f"clip {clips[2].id} has {len(clips[2].segments)} segments and " in error_of(dataset)


def test_a_speaker_of_two_splits(dataset):
    edit(dataset, lambda info: info["speakers"]["test"].append(info["speakers"]["train"][0]))
    speaker = read_dataset_info(str(dataset)).speakers["train"][0]
    assert error_of(dataset).startswith(f"{dataset}: speaker {speaker} is in train and test, so the test would not be fair")


def test_counts_that_are_not_those_of_the_records(dataset):
    counts = read_dataset_info(str(dataset)).counts["eval"]
    edit(dataset, lambda info: info["counts"]["eval"].update(male=counts["male"] - 1, female=counts["female"] + 1))
    said = f"{counts['female']} clips of eval/female where {INFO_FILE} says {counts['female'] + 1}"
    assert error_of(dataset, min_class_share=0.0).startswith(f"{dataset}: {said}; generate")


def test_too_few_clips_of_a_class(dataset):
    edit(dataset, lambda info: info["counts"]["train"].update(male=1, female=7))
    message = error_of(dataset, min_class_share=0.2)
    assert message.startswith(f"{dataset}: 1 of the 8 clips of split train are male, less than data.min_class_share 0.2")
    assert not (dataset.parent / "examples").exists()


def test_a_split_without_a_class(dataset):
    edit(dataset, lambda info: info["counts"]["test"].update(male=4, female=0))
    assert f"{dataset}: 0 of the 4 clips of split test are female" in error_of(dataset, min_class_share=0.0)


def test_the_fingerprint_follows_every_change_of_content(dataset):
    before = fingerprint(str(dataset))
    shard = first_shard(dataset)
    content = shard.read_bytes()
    seen = {before}
    for spoilt in (content[:-1] + bytes([content[-1] ^ 1]), content[:-1], content + b"more"):
        shard.write_bytes(spoilt)
        seen.add(fingerprint(str(dataset)))
    shard.unlink()
    seen.add(fingerprint(str(dataset)))
    assert len(seen) == 5

    shard.write_bytes(content)  # written again, with the same bytes
    assert fingerprint(str(dataset)) == before
    edit(dataset, lambda info: info.update(redraws=info["redraws"] + 1))
    assert fingerprint(str(dataset)) != before


@pytest.mark.parametrize("way", ["cp -a", "cp -r", "tar", "mv"])
def test_the_fingerprint_is_the_same_where_the_dataset_was_copied_or_moved(dataset, tmp_path, way):
    before = fingerprint(str(dataset))
    there = tmp_path / "there"
    if way == "tar":
        there.mkdir()
        subprocess.run(["sh", "-c", f"tar -C '{dataset}' -cf - . | tar -C '{there}' -xmf -"], check=True)
    else:
        subprocess.run([*way.split(), dataset, there], check=True)
    assert fingerprint(str(there)) == before


def test_the_fingerprint_is_the_same_however_the_folder_is_called(dataset, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(dataset)
    monkeypatch.chdir(tmp_path / "elsewhere")
    names = [str(dataset), f"../{dataset.name}", f"./../{dataset.name}/", "../link"]
    assert len({fingerprint(name) for name in names}) == 1
