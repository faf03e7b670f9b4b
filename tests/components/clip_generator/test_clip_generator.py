# SPDX-License-Identifier: Apache-2.0
"""ClipGenerator makes a dataset whole, finds one made, or leaves it to somebody else."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tfx.types import standard_artifacts

from beam_jobs.config import ClipsConfig
from beam_jobs.dataset import fingerprint, read_dataset_info
from beam_jobs.errors import UserError
from beam_jobs.generate_clips import DEFAULT_BEAM_OPTIONS
from components.clip_generator.executor import Executor
from components.run_config import used_config

Generate = Callable[..., Path]


@pytest.fixture
def generate(corpus: Path, tmp_path: Path, make_config: Callable[..., ClipsConfig]) -> Generate:
    """Runs the executor as a pipeline does; returns the dataset's folder, as the next nodes are told it."""

    def run(
        corpus_uri: str | None = None, train: int = 6, subsets: list[str] | None = None, dataset_uri: Path | None = None
    ) -> Path:
        said = {name: standard_artifacts.String() for name in ("dataset", "fingerprint")}
        for name, artifact in said.items():
            artifact.uri = str(tmp_path / name)
        Executor().Do(
            {},
            {name: [artifact] for name, artifact in said.items()},
            {
                "corpus_uri": str(corpus) if corpus_uri is None else corpus_uri,
                "subsets": json.dumps(subsets),
                "labelling": "{}",
                "dataset_uri": str(dataset_uri or tmp_path / "datasets"),
                "clips": make_config().model_dump_json(),
                "beam_options": json.dumps(DEFAULT_BEAM_OPTIONS),
                "num_train_clips": train,
                "num_eval_clips": 3,
                "num_test_clips": 3,
            },
        )
        assert said["fingerprint"].value == fingerprint(said["dataset"].value)
        return Path(said["dataset"].value)

    return run


def test_the_run_says_how_many_clips_are_made_and_not_the_configuration(generate):
    info = read_dataset_info(str(generate(train=6)))
    assert {split: sum(counts.values()) for split, counts in info.counts.items()} == {"train": 6, "eval": 3, "test": 3}


def test_a_dataset_that_is_there_is_left_as_it_is(generate):
    before = fingerprint(str(generate()))
    assert fingerprint(str(generate())) == before


def test_with_other_settings_or_recordings_a_dataset_of_its_own_is_made_and_those_of_before_are_kept_and_told(
    generate, corpus, tmp_path, capsys
):
    grown = tmp_path / "corpus"
    shutil.copytree(corpus, grown)
    first = generate(str(grown), train=6)
    before = fingerprint(str(first))
    assert "kept" not in capsys.readouterr().err
    other = generate(str(grown), train=7)
    recording = sorted(grown.rglob("*.flac"))[0]
    shutil.copy(recording, recording.with_stem(recording.stem[:-4] + "0099"))  # as a corpus grows, or its feedback
    newest = generate(str(grown), train=6)

    assert len({first, other, newest}) == 3 and {path.parent for path in (first, other, newest)} == {tmp_path / "datasets"}
    assert fingerprint(str(first)) == before
    said = " ".join(capsys.readouterr().err.split())
    assert f"kept below {tmp_path / 'datasets'}: 2 other datasets" in said and first.name in said and other.name in said
    assert generate(str(grown), train=6) == newest


def test_a_dataset_that_lies_in_the_folder_itself_is_used_while_it_is_the_same_and_kept_when_it_is_not(
    generate, tmp_path, corpus
):
    made = generate(train=6).rename(tmp_path / "of before")
    before = fingerprint(str(made))
    assert generate(train=6, dataset_uri=made) == made
    other = generate(train=7, dataset_uri=made)
    assert other.parent == made and fingerprint(str(made)) == before
    assert generate(train=7, dataset_uri=made) == other and generate(train=6, dataset_uri=made) == made


def test_without_a_corpus_nothing_is_made_and_a_dataset_must_be_there(generate, tmp_path):
    with pytest.raises(UserError, match=r"not a dataset \(dataset_info"):
        generate(corpus_uri="")
    assert not (tmp_path / "datasets").exists()
    made = generate()
    assert generate(corpus_uri="", dataset_uri=made) == made
    with pytest.raises(UserError, match=rf"not a dataset .*; {made.name} lies below it, give its folder"):
        generate(corpus_uri="")


def test_without_a_corpus_an_unfinished_dataset_in_the_folder_itself_is_none_below_it(generate, tmp_path):
    (tmp_path / "datasets/_unfinished").mkdir(parents=True)
    (tmp_path / "datasets/_unfinished/plan.json").write_text("{}")
    with pytest.raises(UserError, match="not a dataset") as error:
        generate(corpus_uri="")
    assert "below it" not in str(error.value)


def test_a_recorded_configuration_makes_datasets_where_its_own_lies(generate):
    made = generate(train=6)
    compiled = {"train": {}, "push": {}, "kubernetes": {"corpus_uri": "", "dataset_uri": str(made.parent)}}
    recorded = used_config(json.dumps(compiled), epochs=1, push_mode="auto", dataset_uri=str(made), corpus_uri="s3://corpus")
    there = Path(recorded["kubernetes"]["dataset_uri"])
    assert there == generate(train=6, dataset_uri=there) == made
    assert generate(train=7, dataset_uri=there).parent == made.parent


def test_a_subset_that_is_not_there_is_one_line(generate):
    with pytest.raises(UserError, match="nowhere"):
        generate(subsets=["nowhere"])


def test_an_object_store_that_does_not_answer_is_one_line(generate, monkeypatch):
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "nowhere-1",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"^s3://nowhere/LibriSpeech: .*127\.0\.0\.1:9.*; check AWS_ENDPOINT_URL") as error:
        generate(corpus_uri="s3://nowhere/LibriSpeech")
    assert "\n" not in str(error.value)
