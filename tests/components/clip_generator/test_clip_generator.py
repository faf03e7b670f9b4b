# SPDX-License-Identifier: Apache-2.0
"""ClipGenerator makes a dataset whole, finds one made, or leaves it to somebody else."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tfx.types import standard_artifacts

from beam_jobs.config import ClipsConfig
from beam_jobs.dataset import fingerprint, read_dataset_info
from beam_jobs.errors import UserError
from beam_jobs.generate_clips import DEFAULT_BEAM_OPTIONS
from components.clip_generator.executor import Executor

Generate = Callable[..., Path]


@pytest.fixture
def generate(corpus: Path, tmp_path: Path, make_config: Callable[..., ClipsConfig]) -> Generate:
    """Runs the executor as a pipeline does; returns the dataset folder."""

    def run(corpus_uri: str | None = None, train: int = 6, subsets: list[str] | None = None) -> Path:
        dataset, said = tmp_path / "dataset", standard_artifacts.String()
        said.uri = str(tmp_path / "fingerprint")
        Executor().Do(
            {},
            {"fingerprint": [said]},
            {
                "corpus_uri": str(corpus) if corpus_uri is None else corpus_uri,
                "subsets": json.dumps(subsets),
                "labelling": "{}",
                "dataset_uri": str(dataset),
                "clips": make_config().model_dump_json(),
                "beam_options": json.dumps(DEFAULT_BEAM_OPTIONS),
                "num_train_clips": train,
                "num_eval_clips": 3,
                "num_test_clips": 3,
            },
        )
        assert said.value == fingerprint(str(dataset))
        return dataset

    return run


def test_the_run_says_how_many_clips_are_made_and_not_the_configuration(generate):
    info = read_dataset_info(str(generate(train=6)))
    assert {split: sum(counts.values()) for split, counts in info.counts.items()} == {"train": 6, "eval": 3, "test": 3}


def test_a_dataset_that_is_there_is_left_as_it_is(generate):
    before = fingerprint(str(generate()))
    assert fingerprint(str(generate())) == before


def test_a_dataset_of_other_settings_is_refused_and_kept(generate):
    before = fingerprint(str(generate(train=6)))
    with pytest.raises(UserError, match="already holds a dataset with other settings; choose another folder"):
        generate(train=7)
    assert fingerprint(str(generate(train=6))) == before


def test_without_a_corpus_nothing_is_made_and_a_dataset_must_be_there(generate, tmp_path):
    with pytest.raises(UserError, match=r"not a dataset \(dataset_info"):
        generate(corpus_uri="")
    assert not (tmp_path / "dataset").exists()
    before = fingerprint(str(generate()))
    assert fingerprint(str(generate(corpus_uri=""))) == before


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
