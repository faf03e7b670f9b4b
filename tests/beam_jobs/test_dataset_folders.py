# SPDX-License-Identifier: Apache-2.0
"""Which folder below the given one a dataset is made in, taken from or resumed in, and what is said of its neighbours."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import CONFIG, call_here

from beam_jobs.config import ClipsConfig, NumClips
from beam_jobs.corpus.index import SpeakerIndex
from beam_jobs.corpus.readers import read_corpus
from beam_jobs.dataset import INFO_FILE, folder_above
from beam_jobs.dataset_folders import dataset_name, datasets_below, datasets_folder
from beam_jobs.errors import UserError
from beam_jobs.generate_clips import generate_below, generate_clips

MakeConfig = Callable[..., ClipsConfig]


@pytest.fixture
def damaged(own_corpus: Path) -> SpeakerIndex:
    """A corpus of 36 files, 6 of which break off when they are decoded."""
    for path in sorted(own_corpus.rglob("*.flac"))[::6]:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 3])
    return read_corpus(own_corpus)


@pytest.fixture
def every_file(make_config: MakeConfig) -> ClipsConfig:
    """Settings that meet damaged files, and allow none."""
    return make_config(num_clips=NumClips(train=24, eval=6, test=6), max_rejected_share=0.0)


def more_allowed(clips: ClipsConfig) -> ClipsConfig:
    return clips.model_copy(update={"max_rejected_share": 0.9})


def shards(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*.tfrecord")}


def test_clips_that_were_mixed_are_kept_when_the_share_of_unusable_files_is_raised(
    damaged: SpeakerIndex, every_file: ClipsConfig, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="raise the share"):
        generate_below(every_file, damaged, str(tmp_path / "clips"))
    (unfinished,) = (tmp_path / "clips").iterdir()
    made = shards(unfinished)

    output, info = generate_below(more_allowed(every_file), damaged, str(tmp_path / "clips"))

    assert (output, shards(unfinished)) == (str(unfinished), made) and len(made) == len(info.shards)
    # Who allows fewer than a whole dataset of others has is told so, and it stays.
    listed = re.escape(f"{info.rejected} of 36 files are unusable (listed in {output}/rejected.csv), more than")
    with pytest.raises(UserError, match=rf"{listed} .*raise the share"):
        generate_below(every_file, damaged, str(tmp_path / "clips"))
    assert generate_below(more_allowed(every_file), damaged, str(tmp_path / "clips")) == (output, info)


def test_an_unfinished_dataset_in_the_folder_itself_is_resumed_there(
    damaged: SpeakerIndex, every_file: ClipsConfig, tmp_path: Path
) -> None:
    folder = tmp_path / "clips"
    with pytest.raises(UserError, match="raise the share"):
        generate_clips(every_file, damaged, str(folder))  # as older versions began one
    made = shards(folder)

    assert generate_below(more_allowed(every_file), damaged, str(folder))[0] == str(folder)
    assert shards(folder) == made and (folder / INFO_FILE).exists()


def test_an_unfinished_dataset_of_other_settings_in_the_folder_itself_is_kept_and_told(
    damaged: SpeakerIndex, every_file: ClipsConfig, make_config: MakeConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "clips"
    with pytest.raises(UserError, match="raise the share"):
        generate_clips(every_file, damaged, str(folder))
    made = shards(folder)

    output, _ = generate_below(make_config(seed=4, max_rejected_share=0.9), damaged, str(folder))

    assert Path(output).parent == folder and made.items() <= shards(folder).items()
    said = " ".join(capsys.readouterr().err.split())
    assert f"kept below {folder}: 1 other dataset of other settings or recordings (the one in the folder itself)" in said
    assert datasets_below(str(folder)).keys() == {"", Path(output).name}


def test_a_dataset_of_its_own_that_is_whole_goes_before_an_unfinished_one_in_the_folder_itself(
    damaged: SpeakerIndex, every_file: ClipsConfig, tmp_path: Path
) -> None:
    folder = tmp_path / "clips"
    whole, _ = generate_below(more_allowed(every_file), damaged, str(folder))
    with pytest.raises(UserError, match="raise the share"):
        generate_clips(every_file, damaged, str(tmp_path / "elsewhere"))
    shutil.move(tmp_path / "elsewhere/_unfinished", folder)

    assert generate_below(more_allowed(every_file), damaged, str(folder))[0] == whole


def test_the_folder_of_a_dataset_stands_for_the_folder_it_is_in(
    index: SpeakerIndex, make_config: MakeConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "clips"
    first, _ = generate_below(make_config(), index, str(folder))
    assert generate_below(make_config(), index, first)[0] == first

    # As a configuration does that a run recorded, once the settings or the corpus are others.
    other, _ = generate_below(make_config(seed=4), index, first)

    assert Path(other).parent == folder and other != first
    assert f"kept below {folder}: 1 other dataset" in " ".join(capsys.readouterr().err.split())
    # A time as a name looks like a dataset's, and holds none.
    assert Path(generate_below(make_config(), index, str(tmp_path / "202611271035"))[0]).parent == tmp_path / "202611271035"


def test_the_folder_of_a_dataset_that_was_removed_still_stands_for_the_folder_it_was_in(
    index: SpeakerIndex, make_config: MakeConfig, tmp_path: Path
) -> None:
    folder = tmp_path / "clips"
    first, _ = generate_below(make_config(), index, str(folder))
    shutil.rmtree(first)
    assert generate_below(make_config(), index, f"{first}/")[0] == first  # as a run's recorded configuration names it
    other, _ = generate_below(make_config(seed=4), index, str(folder))
    shutil.rmtree(first)
    third, _ = generate_below(make_config(seed=5), index, first)
    assert {Path(other).parent, Path(third).parent} == {folder} and not Path(first).exists()
    # A folder of datasets whose name looks like one's stays what it is.
    shutil.move(folder, tmp_path / "202611271035")
    inside, _ = generate_below(make_config(seed=6), index, str(tmp_path / "202611271035"))
    assert Path(inside).parent == tmp_path / "202611271035"


@pytest.mark.parametrize("name", ["clips [old]", "clips*"])
def test_datasets_are_found_in_a_folder_whose_name_is_a_pattern(
    index: SpeakerIndex, make_config: MakeConfig, tmp_path: Path, name: str
) -> None:
    made, _ = generate_below(make_config(), index, str(tmp_path / "clips"))
    folder = (tmp_path / "clips").rename(tmp_path / name)

    assert datasets_below(str(folder)).keys() == {Path(made).name}
    gone = str(folder / dataset_name(make_config(seed=4), ""))
    assert datasets_folder(gone, "") == str(folder)  # by its neighbour


@pytest.mark.parametrize(
    ("dataset", "above"),
    [
        ("s3://clips/demo/0123456789ab", "s3://clips/demo"),
        ("s3://clips/0123456789ab/", "s3://clips"),
        ("s3://0123456789ab", "s3://0123456789ab"),
        ("/data/clips/0123456789ab", "/data/clips"),
        ("/data/clips", "/data/clips"),
        ("/data/clips/0123456789abc", "/data/clips/0123456789abc"),
        ("0123456789ab", "0123456789ab"),
        ("/0123456789ab", "/0123456789ab"),
        ("", ""),
    ],
)
def test_the_folder_that_a_dataset_of_its_own_folder_is_in(dataset: str, above: str) -> None:
    assert folder_above(dataset) == above


@pytest.mark.parametrize("given", ["clips/", "clips//", "./clips", "clips"])
def test_the_command_takes_a_folder_however_it_is_written(
    given: str, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(CONFIG)
    command = ("clips", "generate", "--config", "config.yaml", "--corpus", corpus, "--output", given, "--own-folder")
    done = call_here(*command)
    assert done.returncode == 0, done.stderr
    (dataset,) = Path("clips").iterdir()
    assert re.fullmatch("[0-9a-f]{12}", dataset.name)
    assert json.loads((dataset / INFO_FILE).read_text())["clips"]["duration_s"] == 1
    dataset.rename("own")  # as older versions made it: in the folder itself
    Path("clips").rmdir()
    Path("own").rename("clips")

    again = call_here(*command)

    assert again.returncode == 0, again.stderr
    assert "kept" not in done.stderr + again.stderr and not [*Path("clips").glob(f"*/{INFO_FILE}")]
