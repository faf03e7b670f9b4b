# SPDX-License-Identifier: Apache-2.0
"""The job as a whole: what a dataset folder holds, the same bytes anywhere, restarts, failures, bad audio."""

import csv
import hashlib
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from scipy.io import wavfile
from small_disks import small_file_system

from beam_jobs.config import ClipsConfig, NumClips, Range
from beam_jobs.corpus.contents import read_contents
from beam_jobs.corpus.digest import corpus_digest
from beam_jobs.corpus.index import SpeakerIndex
from beam_jobs.corpus.librispeech import read_librispeech
from beam_jobs.corpus.readers import read_corpus
from beam_jobs.dataset import read_dataset_info
from beam_jobs.errors import UserError
from beam_jobs.examples import Clip, decode_clip, decode_index_entry, read_records
from beam_jobs.generate_clips import generate_clips, main
from beam_jobs.labels import DEFAULT_LABELS
from beam_jobs.make_shard import split_for
from beam_jobs.variants import TrainChannel, TrainVoice

MakeConfig = Callable[..., ClipsConfig]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, index: SpeakerIndex, make_config: MakeConfig) -> Path:
    """14 clips in 3 + 1 + 1 shards, made by one undisturbed in-memory run."""
    folder = tmp_path_factory.mktemp("dataset") / "clips"
    generate_clips(make_config(), index, str(folder))
    return folder


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def checksums(folder: Path, pattern: str = "*") -> dict[str, str]:
    paths = [path for path in folder.rglob(pattern) if path.is_file()]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def shard_clips(path: Path) -> list[Clip]:
    with path.open("rb") as file:
        return [decode_clip(record) for record in read_records(file)]


def records_by_id(folder: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for path in folder.rglob("*.tfrecord"):
        with path.open("rb") as file:
            found |= {decode_clip(record).id: record for record in read_records(file)}
    return found


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def error_of(clips: ClipsConfig, index: SpeakerIndex, output: Path, *beam_options: str) -> str:
    with pytest.raises(UserError) as caught:
        generate_clips(clips, index, str(output), beam_options)
    message = str(caught.value)
    assert "\n" not in message
    assert "while running" not in message
    return message


def arguments(tmp_path: Path, clips: ClipsConfig, corpus: Path, output: Path) -> list[str]:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"clips": clips.model_dump()}))
    return ["--config", str(config), "--corpus", str(corpus), "--output", str(output)]


def command(*options: str) -> list[str]:
    return [sys.executable, "-m", "beam_jobs.generate_clips", *options]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=120)


def assert_one_line(error_output: str, text: str) -> None:
    (line,) = [line for line in error_output.splitlines() if not line.startswith(("  mixing clips: ", "split eval has 1 "))]
    assert line.startswith("error: ")
    assert text in line
    assert "while running" not in line


def assert_only_whole_shards(folder: Path) -> None:
    assert not (folder / "dataset_info.json").exists()
    for path in folder.rglob("*.tfrecord"):
        assert shard_clips(path)
        assert path.with_suffix(".index").exists()
    assert all(name.startswith("_unfinished/") or name.endswith((".tfrecord", ".index")) for name in files(folder))


# What a dataset is


def test_the_folder_is_laid_out_as_agreed(dataset: Path) -> None:
    train = {f"train/clips-0000{k}-of-00003.tfrecord" for k in range(3)}
    held_out = {f"{split}/clips-00000-of-00001.tfrecord" for split in ("eval", "test")}

    indexes = {name.replace(".tfrecord", ".index") for name in train | held_out}
    assert files(dataset) == train | held_out | indexes | {"clips.csv", "rejected.csv", "dataset_info.json"}
    assert {path.name for path in dataset.iterdir() if path.is_dir()} == {"train", "eval", "test"}


def test_the_description_fits_the_files(dataset: Path, make_config: MakeConfig, index: SpeakerIndex) -> None:
    info = read_dataset_info(str(dataset))

    assert (info.format_version, info.clips, info.classes) == (3, make_config(), ["male", "female", "mixed"])
    assert info.corpus_fingerprint == corpus_digest(index, read_contents(index))
    assert {shard.file: shard.sha256 for shard in info.shards} == checksums(dataset, "*.tfrecord")
    assert {shard.index_file: shard.index_sha256 for shard in info.shards} == checksums(dataset, "*.index")
    for shard in info.shards:
        with (dataset / shard.index_file).open("rb") as file:
            entries = [decode_index_entry(record) for record in read_records(file)]
        content = (dataset / shard.file).read_bytes()
        for entry, clip in zip(entries, shard_clips(dataset / shard.file), strict=True):
            # As TensorFlow's record_reader.h frames a record: length, its checksum, the record, its checksum.
            record = content[entry.offset + 12 : entry.offset + entry.num_bytes - 4]
            assert decode_clip(record).id == entry.clip.id == clip.id
            assert len(record) == int.from_bytes(content[entry.offset : entry.offset + 8], "little")
        assert shard.num_bytes == (dataset / shard.file).stat().st_size
        assert shard.num_records == len(shard_clips(dataset / shard.file))
        assert shard.file.startswith(f"{shard.split}/")


def test_each_shard_is_a_stretch_of_clips_of_the_exact_length(dataset: Path) -> None:
    for split, ends in (("train", [0, 2, 5, 8]), ("eval", [0, 3]), ("test", [0, 3])):
        for shard, (first, end) in enumerate(pairwise(ends)):
            found = shard_clips(dataset / split / f"clips-{shard:05d}-of-{len(ends) - 1:05d}.tfrecord")
            assert [clip.id for clip in found] == [f"{split}-{k:07d}" for k in range(first, end)]
            assert all(len(clip.pcm16) == 3 * 11_025 and clip.sample_rate_hz == 11_025 and clip.pcm16.any() for clip in found)


def test_the_list_of_clips_says_what_the_records_hold(dataset: Path) -> None:
    info = read_dataset_info(str(dataset))
    listed = {row["id"]: row for row in rows(dataset / "clips.csv")}

    assert sorted(listed) == sorted(
        f"{split}-{k:07d}" for split, number in (("train", 8), ("eval", 3), ("test", 3)) for k in range(number)
    )
    for shard in info.shards:
        for clip in shard_clips(dataset / shard.file):
            row = listed[clip.id]
            assert (row["split"], row["shard"], row["mode"]) == (shard.split, shard.file, clip.mode)
            assert (row["label"], row["sample_rate_hz"]) == (info.classes[clip.label], "11025")
            assert (row["speaker_ids"].split(), row["utterance_ids"].split()) == ([*clip.speaker_ids], [*clip.utterance_ids])
            assert float(row["rms_dbfs"]) == pytest.approx(clip.rms_dbfs, abs=0.005)
            assert float(row["speech_ratio"]) == pytest.approx(clip.speech_ratio, abs=5e-5)
    for split, counts in info.counts.items():
        assert counts == {name: sum((row["split"], row["label"]) == (split, name) for row in listed.values()) for name in counts}


def test_no_speaker_is_heard_in_two_splits(dataset: Path, index: SpeakerIndex) -> None:
    speakers = read_dataset_info(str(dataset)).speakers

    assert sorted(id for ids in speakers.values() for id in ids) == [speaker.id for speaker in index.speakers]
    for row in rows(dataset / "clips.csv"):
        assert set(row["speaker_ids"].split()) <= set(speakers[row["split"]])


# The same bytes anywhere


@pytest.mark.parametrize("num_workers", [1, 2])
def test_worker_processes_make_the_same_bytes(
    dataset: Path, tmp_path: Path, index: SpeakerIndex, make_config: MakeConfig, num_workers: int
) -> None:
    options = ("--runner=DirectRunner", "--direct_running_mode=multi_processing", f"--direct_num_workers={num_workers}")

    generate_clips(make_config(), index, str(tmp_path / "clips"), options)

    assert checksums(tmp_path / "clips") == checksums(dataset)


@pytest.fixture(scope="module")
def varied(make_config: MakeConfig) -> ClipsConfig:
    """Settings by which most voices of training are changed, and go through a channel."""
    return make_config(train_voice=TrainVoice(share=0.8), train_channel=TrainChannel(share=0.8))


@pytest.fixture(scope="module")
def varied_dataset(tmp_path_factory: pytest.TempPathFactory, index: SpeakerIndex, varied: ClipsConfig) -> Path:
    folder = tmp_path_factory.mktemp("varied") / "clips"
    generate_clips(varied, index, str(folder))
    return folder


def test_changed_voices_are_the_same_bytes_in_every_worker(
    varied_dataset: Path, varied: ClipsConfig, tmp_path: Path, index: SpeakerIndex
) -> None:
    options = ("--runner=DirectRunner", "--direct_running_mode=multi_processing", "--direct_num_workers=2")

    generate_clips(varied, index, str(tmp_path / "clips"), options)

    assert checksums(tmp_path / "clips") == checksums(varied_dataset)


def test_changed_voices_change_training_clips_alone(dataset: Path, varied_dataset: Path) -> None:
    plain, changed = records_by_id(dataset), records_by_id(varied_dataset)

    assert plain.keys() == changed.keys()
    assert {id for id in plain if plain[id] == changed[id] and not id.startswith("train")} == {
        id for id in plain if not id.startswith("train")
    }
    assert sum(plain[id] != changed[id] for id in plain) >= 6
    for id in plain:
        before, after = decode_clip(plain[id]), decode_clip(changed[id])
        assert (before.label, before.utterance_ids) == (after.label, after.utterance_ids)


def test_a_job_without_changed_voices_does_not_load_what_changes_them(
    tmp_path: Path, corpus: Path, make_config: MakeConfig
) -> None:
    code = (
        "import sys; from beam_jobs.generate_clips import main; assert main(sys.argv[1:]) == 0; "
        "print({'pyworld', 'scipy.signal'} & set(sys.modules))"
    )

    loaded = {
        name: run(sys.executable, "-c", code, *arguments(tmp_path, make_config(**settings), corpus, tmp_path / name))
        for name, settings in {"plain": {}, "varied": {"train_voice": TrainVoice()}}.items()
    }

    assert loaded["plain"].stdout == "set()\n"
    assert loaded["varied"].stdout == "{'pyworld'}\n"


def test_the_order_of_the_corpus_folder_changes_nothing(
    dataset: Path, tmp_path: Path, corpus: Path, make_config: MakeConfig
) -> None:
    copy = tmp_path / "corpus"
    for path in sorted(corpus.rglob("*.*"), reverse=True):
        (copy / path.relative_to(corpus)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy / path.relative_to(corpus))

    generate_clips(make_config(), read_librispeech(copy), str(tmp_path / "clips"))

    assert checksums(tmp_path / "clips") == checksums(dataset)


def test_more_clips_keep_those_that_stay(dataset: Path, tmp_path: Path, index: SpeakerIndex, make_config: MakeConfig) -> None:
    more = make_config(num_clips=NumClips(train=11, eval=4, test=3), clips_per_shard=2)

    generate_clips(more, index, str(tmp_path / "clips"))

    before, after = records_by_id(dataset), records_by_id(tmp_path / "clips")
    assert len(after) == 18
    assert {id: after[id] for id in before} == before


def test_another_job_in_the_same_process_and_folder(
    dataset: Path, tmp_path: Path, index: SpeakerIndex, make_config: MakeConfig
) -> None:
    output = tmp_path / "clips"
    generate_clips(make_config(seed=4), index, str(output))
    assert not set(records_by_id(output).values()) & set(records_by_id(dataset).values())
    shutil.rmtree(output)

    generate_clips(make_config(), index, str(output))

    assert checksums(output) == checksums(dataset)


# Restart


@pytest.mark.slow
def test_killed_again_and_again_it_ends_as_if_undisturbed(
    tmp_path: Path, corpus: Path, index: SpeakerIndex, make_config: MakeConfig
) -> None:
    clips = make_config(num_clips=NumClips(train=100, eval=10, test=10), clips_per_shard=1)
    output = tmp_path / "disturbed"
    options = arguments(tmp_path, clips, corpus, output)
    finished: dict[Path, int] = {}

    for _ in range(5):
        enough = len(finished) + random.randint(0, 10)
        process = subprocess.Popen(command(*options), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while len(list(output.rglob("*.tfrecord"))) < enough or not (output / "_unfinished" / "plan.json").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(random.uniform(0, 0.05))
        process.kill()
        assert process.wait() == -9

        assert_only_whole_shards(output)
        before, finished = finished, {path: path.stat().st_mtime_ns for path in output.rglob("*.tfrecord")}
        assert before.items() <= finished.items()
    assert "unfinished dataset with other settings" in error_of(make_config(), index, output)
    # Neither the output nor the corpus has to stay where it was.
    moved = output.rename(tmp_path / "moved")
    shutil.copytree(corpus, tmp_path / "corpus elsewhere")
    generate_clips(clips, replace(index, root=str(tmp_path / "corpus elsewhere")), str(moved))

    assert finished
    assert {path: (moved / path.relative_to(output)).stat().st_mtime_ns for path in finished} == finished
    generate_clips(clips, index, str(tmp_path / "undisturbed"))
    assert checksums(moved) == checksums(tmp_path / "undisturbed")


def test_a_job_killed_before_its_plan_was_whole(
    dataset: Path, tmp_path: Path, index: SpeakerIndex, make_config: MakeConfig
) -> None:
    (tmp_path / "clips" / "_unfinished").mkdir(parents=True)
    (tmp_path / "clips" / "_unfinished" / "plan.json.0123.tmp").write_text('{"clips"')

    generate_clips(make_config(), index, str(tmp_path / "clips"))

    assert checksums(tmp_path / "clips") == checksums(dataset)


# Recordings that are replaced under their names, by others of the same length


def replace_by_noise(corpus: Path, paths: Iterable[Path] = ()) -> None:
    for seed, path in enumerate(paths or sorted(corpus.rglob("*.flac"))):
        noise = 0.1 * np.random.default_rng(seed).standard_normal(soundfile.info(path).frames)
        soundfile.write(path, noise, 16_000, subtype="PCM_16")


def test_replaced_recordings_are_not_the_corpus_of_a_finished_dataset(
    tmp_path: Path, own_corpus: Path, make_config: MakeConfig
) -> None:
    generate_clips(make_config(), read_librispeech(own_corpus), str(tmp_path / "clips"))
    before = checksums(tmp_path / "clips")

    replace_by_noise(own_corpus)

    message = error_of(make_config(), read_librispeech(own_corpus), tmp_path / "clips")
    assert message.endswith(
        "clips: already holds a dataset from another corpus, or its recordings were replaced since; "
        "choose another folder or remove this one"
    )
    assert checksums(tmp_path / "clips") == before


def test_a_recording_that_is_replaced_while_a_job_runs_is_noticed_and_when_it_is_resumed(
    tmp_path: Path, own_corpus: Path, make_config: MakeConfig
) -> None:
    output, index = tmp_path / "clips", read_librispeech(own_corpus)

    def replace_one() -> None:
        while not (output / "_unfinished" / "plan.json").exists():
            time.sleep(0.001)
        replace_by_noise(own_corpus, [own_corpus / next(index.utterances()).path])

    with ThreadPoolExecutor() as pool:
        pool.submit(replace_one)
        message = error_of(make_config(), index, output)
    assert message == (
        f"{own_corpus}: recordings were replaced while clips were being mixed from them; "
        f"remove {output} and run the command again"
    )
    assert_only_whole_shards(output)

    assert "or recordings were replaced since; remove it or choose" in error_of(
        make_config(), read_librispeech(own_corpus), output
    )
    shutil.rmtree(output)
    generate_clips(make_config(), read_librispeech(own_corpus), str(output))


# Recordings that are there twice


def utterance_of(index: SpeakerIndex, speaker: str, number: int = 0) -> Path:
    (found,) = (item for item in index.speakers if item.id == speaker)
    return Path(index.root) / found.utterances[number].path


@pytest.mark.parametrize("apart", ["label", "split"])
def test_a_recording_under_two_labels_or_in_two_splits_stops_the_job(
    tmp_path: Path, own_corpus: Path, make_config: MakeConfig, apart: str
) -> None:
    index = read_librispeech(own_corpus)
    male, female = ([s.id for s in split_for(index, make_config())["train"] if s.label == label] for label in DEFAULT_LABELS)
    held_out = next(s.id for s in split_for(index, make_config())["test"] if s.label == "male")
    first, second = {"label": (male[0], female[0]), "split": (male[0], held_out)}[apart]
    shutil.copyfile(utterance_of(index, first), utterance_of(index, second, 1))

    message = error_of(make_config(), read_librispeech(own_corpus), tmp_path / "clips")

    assert "hold the same recording, byte for byte; a recording has one label and is in one split" in message
    for speaker, k, where in ((first, 0, "male, train"), (second, 1, {"label": "female, train", "split": "male, test"}[apart])):
        assert f"tones/{speaker}/1/{speaker}-1-000{k}.flac (speaker {speaker}, {where})" in message
    assert not (tmp_path / "clips").exists()


def test_a_recording_that_is_twice_under_one_label_and_split_is_counted(
    tmp_path: Path, own_corpus: Path, make_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    index = read_librispeech(own_corpus)
    first, second = [speaker.id for speaker in split_for(index, make_config())["train"] if speaker.label == "male"][:2]
    shutil.copyfile(utterance_of(index, first), utterance_of(index, second))
    shutil.copyfile(utterance_of(index, first), utterance_of(index, first, 1))

    info = generate_clips(make_config(), read_librispeech(own_corpus), str(tmp_path / "clips"))

    assert info.duplicates == 2
    assert (
        "duplicates in the corpus: 2 recordings with the same audio as another of the same label and split"
        in capsys.readouterr().err
    )


def test_one_speaker_in_a_split_is_told(
    tmp_path: Path, index: SpeakerIndex, make_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    generate_clips(make_config(), index, str(tmp_path / "clips"))
    assert "split eval has 1 female speaker, but a clip may hold 3 voices (clips.max_utterances)" in capsys.readouterr().err

    one_each = [replace(speaker, utterances=speaker.utterances[:1]) for speaker in index.speakers]
    message = error_of(make_config(), replace(index, speakers=tuple(one_each)), tmp_path / "few")
    assert message.startswith("split eval has 1 male speaker with 1 utterance, and a clip may hold 3, none of them twice; use a")


def test_float_files_of_16_bit_values_are_named_and_left_out(tmp_path: Path, own_corpus: Path, make_config: MakeConfig) -> None:
    """As `scipy.io.wavfile` writes them where int16 samples were only cast to float32."""
    lines = ["path,speaker_id,label\n"]
    for speaker in read_librispeech(own_corpus).speakers:
        for utterance in speaker.utterances:
            path = own_corpus / utterance.path
            if utterance.id == f"{speaker.id}-1-0001":
                wavfile.write(path.with_suffix(".wav"), 16_000, soundfile.read(path, dtype="int16")[0].astype(np.float32))
                path.unlink()
                path = path.with_suffix(".wav")
            lines.append(f"{path.relative_to(own_corpus)},{speaker.id},{speaker.label}\n")
    (own_corpus / "SPEAKERS.TXT").unlink()
    (own_corpus / "utterances.csv").write_text("".join(lines))

    config = make_config(num_clips=NumClips(train=40, eval=3, test=3), max_utterances=2, max_rejected_share=0.5)
    generate_clips(config, read_corpus(own_corpus), str(tmp_path / "clips"))

    named = rows(tmp_path / "clips" / "rejected.csv")
    assert named
    assert all(
        row["path"].endswith("-1-0001.wav") and "times full scale; a float file of 16-bit" in row["reason"] for row in named
    )
    assert not any("-1-0001" in row["utterance_ids"] for row in rows(tmp_path / "clips" / "clips.csv"))


# What goes wrong


def test_an_output_that_is_not_empty_is_left_as_it_is(tmp_path: Path, index: SpeakerIndex, make_config: MakeConfig) -> None:
    (tmp_path / "mine.txt").write_text("mine")

    assert f"{tmp_path}: not empty; choose another folder" in error_of(make_config(), index, tmp_path)
    assert files(tmp_path) == {"mine.txt"}


def test_a_finished_dataset_is_left_as_it_is(dataset: Path, index: SpeakerIndex, make_config: MakeConfig) -> None:
    before = checksums(dataset)

    assert generate_clips(make_config(), index, str(dataset)) == read_dataset_info(str(dataset))
    assert "already holds a dataset with other settings; choose another folder" in error_of(make_config(seed=4), index, dataset)
    other = replace(index, speakers=index.speakers[:-1])
    assert "already holds a dataset from another corpus, or its recordings" in error_of(make_config(), other, dataset)
    assert checksums(dataset) == before


def test_a_name_that_beam_takes_for_a_pattern(tmp_path: Path, index: SpeakerIndex, make_config: MakeConfig) -> None:
    output = tmp_path / "clips[1]"
    output.mkdir()
    (output / "mine.txt").write_text("mine")

    assert "choose a folder without them" in error_of(make_config(), index, output)
    assert files(output) == {"mine.txt"}


def test_a_runner_that_is_none(tmp_path: Path, index: SpeakerIndex, make_config: MakeConfig) -> None:
    message = error_of(make_config(), index, tmp_path / "clips", "--runner=Nonsense")

    assert "Beam options --runner=Nonsense: Unexpected pipeline runner" in message
    assert not (tmp_path / "clips").exists()


def test_clips_that_cannot_be_filled_fail_before_anything_is_written(
    tmp_path: Path, index: SpeakerIndex, make_config: MakeConfig
) -> None:
    clips = make_config(duration_s=60.0, min_speech_s=50.0)

    assert "lower clips.min_speech_s" in error_of(clips, index, tmp_path / "clips")
    assert not (tmp_path / "clips").exists()


@pytest.mark.parametrize("folder", ["/proc/clips", "file/clips", "file"])
def test_an_unwritable_folder(tmp_path: Path, index: SpeakerIndex, make_config: MakeConfig, folder: str) -> None:
    (tmp_path / "file").write_text("a file")
    output = tmp_path / folder

    assert f"{output}: cannot be written (" in error_of(make_config(), index, output)
    assert files(tmp_path) == {"file"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 400 kB, half of what the dataset needs."""
    with small_file_system(tmp_path / "disk", "400k") as disk:
        yield disk


def test_a_full_disk_and_what_follows_when_there_is_room(
    small_disk: Path, dataset: Path, index: SpeakerIndex, make_config: MakeConfig
) -> None:
    output = small_disk / "clips"

    assert f"{output}: cannot be written (No space left on device)" in error_of(make_config(), index, output)
    assert_only_whole_shards(output)
    assert not list(output.rglob("*.tmp"))

    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    generate_clips(make_config(), index, str(output))
    assert checksums(output) == checksums(dataset)


TINY = {
    "duration_s": 0.1,
    "sample_rate_hz": 8_000,
    "num_clips": NumClips(train=160, eval=1, test=1),
    "clips_per_shard": 4,
    "mixed_share": 0.0,
    "max_utterances": 1,
    "min_speech_s": 0.05,
}


@pytest.mark.parametrize(
    ("settings", "max_file_bytes"), [({}, 64_000), (TINY, 16_000)], ids=["while shards are written", "while the list is written"]
)
def test_a_file_that_may_not_grow(
    tmp_path: Path, corpus: Path, make_config: MakeConfig, settings: dict[str, object], max_file_bytes: int
) -> None:
    output = tmp_path / "clips"

    limited = ["sh", "-c", f'ulimit -f {max_file_bytes // 512}; exec "$@"', "sh"]

    result = run(*limited, *command(*arguments(tmp_path, make_config(**settings), corpus, output)))

    assert result.returncode == 2, result.stderr
    assert_one_line(result.stderr, f"{output}: cannot be written (File too large)")
    assert (output / "_unfinished" / "plan.json").exists()
    assert {name for name in files(output) if not name.startswith("_unfinished/")} <= {
        *(
            f"{split}/clips-{k:05d}-of-{of:05d}.{ending}"
            for ending in ("tfrecord", "index")
            for split, of in (("train", 40), ("eval", 1), ("test", 1))
            for k in range(of)
        ),
        "rejected.csv",
    }
    assert bool(list(output.rglob("*.tfrecord"))) == bool(settings)
    assert not list(output.rglob("*.tmp"))


def test_the_command_line_says_what_it_made(tmp_path: Path, corpus: Path, make_config: MakeConfig, dataset: Path) -> None:
    options = arguments(tmp_path, make_config(seed=9), corpus, tmp_path / "clips")

    result = run(*command(*options, "--set", "clips.seed=3"))

    assert (result.returncode, result.stdout) == (0, "")
    assert "14 clips in 5 shards, " in result.stderr
    assert checksums(tmp_path / "clips") == checksums(dataset)


def test_too_few_speakers(tmp_path: Path, own_corpus: Path, make_config: MakeConfig, capsys: pytest.CaptureFixture[str]) -> None:
    for speaker in ("11", "13", "15", "17"):
        shutil.rmtree(own_corpus / "tones" / speaker)

    assert main(arguments(tmp_path, make_config(), own_corpus, tmp_path / "clips")) == 2
    assert_one_line(
        capsys.readouterr().err, "the splits need at least 3 speakers of each label and the corpus has 2 female, 6 male"
    )
    assert not (tmp_path / "clips").exists()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (["--corpus", "/nowhere/[bold]corpus"], "/nowhere/[bold]corpus: no such folder"),
        (["--corpus", "/nowhere/[/x]"], "/nowhere/[/x]: no such folder"),
        (["--config", "/nowhere.yaml"], "/nowhere.yaml: No such file or directory"),
        (["--set", "clips.duration_s=-1"], "clips.duration_s is -1: input should be greater than 0"),
    ],
)
def test_wrong_arguments(
    tmp_path: Path, corpus: Path, make_config: MakeConfig, capsys: pytest.CaptureFixture[str], changes: list[str], text: str
) -> None:
    assert main([*arguments(tmp_path, make_config(), corpus, tmp_path / "clips"), *changes]) == 2
    assert_one_line(capsys.readouterr().err, text)
    assert not (tmp_path / "clips").exists()


# Bad audio


def spoil(root: Path, make_tone: Callable[..., np.ndarray]) -> tuple[dict[str, str], set[str]]:
    """Replaces files by unusable ones and by unusual ones: reasons by path, and ids of those that can be used."""

    def path(speaker: int, k: int = 0) -> Path:
        return root / "tones" / str(speaker) / "1" / f"{speaker}-1-{k:04d}.flac"

    path(11).write_text("I am no audio.\n" * 100)
    path(12).write_bytes(path(12, 2).read_bytes()[:20_000])
    soundfile.write(path(13), np.zeros(0), 16_000, format="WAV")
    soundfile.write(path(14), np.zeros(32_000), 16_000)
    with_nan = make_tone(150, 2.0)
    with_nan[::100] = np.nan
    soundfile.write(path(15), with_nan, 16_000, format="WAV", subtype="FLOAT")
    reasons = {
        path(11): "it is a text file",
        path(12): "cannot be decoded",
        path(13): "holds no samples",
        path(14): "holds silence only",
        path(15): "holds NaN or infinite samples",
    }

    soundfile.write(path(16), np.stack([make_tone(150, 2.0)] * 2, axis=1), 16_000)
    soundfile.write(path(17), make_tone(150, 2.0, sample_rate_hz=44_100), 44_100)
    soundfile.write(path(18), make_tone(150, 2.0, sample_rate_hz=8_000), 8_000)
    soundfile.write(path(19), make_tone(150, 2.0), 16_000, subtype="PCM_24")
    elsewhere = root / "tönes & more 声" / "20" / "1"
    elsewhere.mkdir(parents=True)
    path(20).rename(elsewhere / path(20).name)
    return {bad.relative_to(root).as_posix(): reason for bad, reason in reasons.items()}, {f"{k}-1-0000" for k in range(16, 21)}


@pytest.fixture(scope="module")
def greedy(make_config: MakeConfig) -> ClipsConfig:
    """Settings that draw every file of the corpus at least once."""
    return make_config(
        num_clips=NumClips(train=40, eval=8, test=8),
        sample_rate_hz=8_000,
        min_utterances=2,
        length_share=Range(min=0.99, max=1.0),
        simultaneous_share=1.0,
        max_rejected_share=0.2,
    )


def test_bad_audio_is_skipped_counted_and_listed_and_the_rest_is_used(
    tmp_path: Path, own_corpus: Path, greedy: ClipsConfig, make_tone: Callable[..., np.ndarray]
) -> None:
    reasons, usable = spoil(own_corpus, make_tone)

    info = generate_clips(greedy, read_librispeech(own_corpus), str(tmp_path / "clips"))

    listed = {row["path"]: row["reason"] for row in rows(tmp_path / "clips" / "rejected.csv")}
    assert listed.keys() == reasons.keys()
    assert all(text in listed[path] for path, text in reasons.items())
    assert info.rejected == 5
    assert info.redraws > 0
    heard = {id for row in rows(tmp_path / "clips" / "clips.csv") for id in row["utterance_ids"].split()}
    assert usable <= heard
    assert not {Path(path).stem for path in reasons} & heard
    assert {split: sum(counts.values()) for split, counts in info.counts.items()} == {"train": 40, "eval": 8, "test": 8}


def test_too_much_bad_audio_fails_the_job_and_says_so(
    tmp_path: Path, own_corpus: Path, greedy: ClipsConfig, make_tone: Callable[..., np.ndarray]
) -> None:
    spoil(own_corpus, make_tone)
    index = read_librispeech(own_corpus)
    strict = greedy.model_copy(update={"max_rejected_share": 0.1})

    message = error_of(strict, index, tmp_path / "clips")

    assert "5 of 36 files are unusable (such as tones/11/1/11-1-0000.flac: " in message
    assert "more than clips.max_rejected_share 0.1 allows" in message
    assert_only_whole_shards(tmp_path / "clips")
    # What was mixed is not lost: with a higher share the same folder is finished.
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "clips").rglob("*.tfrecord")}
    assert generate_clips(greedy, index, str(tmp_path / "clips")).rejected == 5
    assert {path: path.stat().st_mtime_ns for path in made} == made


def test_without_bad_audio_the_list_is_empty(dataset: Path) -> None:
    assert read_dataset_info(str(dataset)).rejected == 0
    assert (dataset / "rejected.csv").read_text() == '"path","speaker","reason"\n'


def test_a_ready_index_stands_in_for_a_corpus_that_lies_elsewhere(
    tmp_path: Path, corpus: Path, index: SpeakerIndex, dataset: Path, make_config: MakeConfig
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"clips": make_config().model_dump(mode="json")}))
    (tmp_path / "index.json").write_text(index.to_json())
    moved = shutil.copytree(corpus, tmp_path / "elsewhere")
    arguments = ["--config", config, "--index", tmp_path / "index.json", "--corpus", moved, "--output", tmp_path / "clips"]

    assert main([str(argument) for argument in arguments]) == 0

    assert checksums(tmp_path / "clips", "*.tfrecord") == checksums(dataset, "*.tfrecord")
