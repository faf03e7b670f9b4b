# SPDX-License-Identifier: Apache-2.0
"""Bad input by the console command: one line that says what to do, exit status 2, nothing half-written."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import cli
from pipeline.workdir import WorkDir

CONFIG = """\
clips:
  duration_s: 1
  sample_rate_hz: 8000
  num_clips: {train: 4, eval: 2, test: 2}
  clips_per_shard: 2
  max_utterances: 2
  pause_s: {min: 0, max: 0}
train:
  crop_s: 1
"""


def only_line(text: str) -> str:
    """The one line of an error, without `error: `."""
    assert text.startswith("error: "), text
    assert text.endswith("\n"), text
    assert text.count("\n") == 1, text
    return text.removeprefix("error: ").rstrip()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def refused(capsys, monkeypatch) -> Callable[..., str]:
    """A function that runs the console command in this process and returns the one line with which it refuses."""

    def run(*arguments: str | Path) -> str:
        monkeypatch.setattr(sys, "argv", ["audio-gender", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        assert stopped.value.code == 2
        out, err = capsys.readouterr()
        assert out == ""
        return only_line(err)

    return run


@pytest.fixture
def generate(refused, config, tmp_path) -> Callable[..., str]:
    """A function that runs `clips generate` into `tmp_path/out` and returns the line with which it refuses."""

    def run(corpus: Path, *settings: str) -> str:
        options = [argument for setting in settings for argument in ("--set", setting)]
        return refused("clips", "generate", "--config", config, "--corpus", corpus, "--output", tmp_path / "out", *options)

    return run


# The corpus.


def test_no_such_corpus(refused, generate, tmp_path):
    expected = f"{tmp_path}/nowhere: no such folder; name a corpus folder that holds SPEAKERS.TXT"
    assert refused("corpus", "info", tmp_path / "nowhere").startswith(expected)
    assert generate(tmp_path / "nowhere").startswith(expected)
    assert not (tmp_path / "out").exists()


def test_no_speaker_list(refused, generate, make_corpus, tmp_path):
    corpus = make_corpus()
    (corpus / "SPEAKERS.TXT").unlink()

    for line in (refused("corpus", "info", corpus), generate(corpus)):
        assert line.startswith(f"{corpus}: not a corpus in any known layout; looked for SPEAKERS.TXT (LibriSpeech), ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        # More than max_rejected_share of so small a corpus.
        ("7 | F | train", "SPEAKERS.TXT:8: expected 'ID | SEX | SUBSET | MINUTES | NAME' and found '7 | F | train'"),
        ("1 | X | train | 0.03 | Kim", "SPEAKERS.TXT:8: speaker '1' is listed twice, with different labels"),
    ],
)
def test_a_bad_line_of_the_speaker_list_is_named_by_file_and_number(generate, make_corpus, tmp_path, line, problem):
    corpus = make_corpus()
    with (corpus / "SPEAKERS.TXT").open("a") as file:
        file.write(line + "\n")

    assert problem in generate(corpus)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("num_female", "num_male"), [(2, 3), (3, 2), (6, 0)])
def test_too_few_speakers_for_three_splits(generate, make_corpus, tmp_path, num_female, num_male):
    line = generate(make_corpus(num_female, num_male))
    if num_female and num_male:
        assert "at least 3 speakers of each label" in line
        assert f"{num_female} female, {num_male} male" in line
    else:
        assert "no speaker is labelled" in line and "clips.labels names male, female" in line
    assert not (tmp_path / "out").exists()


def test_no_corpus_at_all(refused, config, tmp_path, audio_gender):
    done = audio_gender("run", "--config", config, "--workdir", tmp_path / "work")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == "error: no corpus: give --corpus ROOT, the folder of the recordings"


# The configuration.


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("clips.duraton_s=3", "unknown key clips.duraton_s; known keys: "),
        ("trian.epochs=3", "unknown key trian; known keys: "),
        ("clips.num_clips.dev=3", "unknown key clips.num_clips.dev; known keys: eval, test, train"),
        ("clips.duration_s=-3", "clips.duration_s is -3: input should be greater than 0"),
        ("clips.duration_s=0", "clips.duration_s is 0: input should be greater than 0"),
        ("clips.duration_s=long", "clips.duration_s is 'long': input should be a valid number"),
        ("clips.duration_s=.nan", "clips.duration_s is nan: input should be a finite number"),
        ("clips.sample_rate_hz=16000.5", "clips.sample_rate_hz is 16000.5: input should be a valid integer"),
        ("clips.num_clips.eval=0", "clips.num_clips.eval is 0: input should be greater than or equal to 1"),
        ("clips.length_share.max=2", "clips.length_share"),
        ("clips.max_utterances=0", "clips.max_utterances is 0: input should be greater than or equal to 1"),
        ("model.architecture=foo", "model.architecture is 'foo': input should be 'conv3d', 'cnn2d', 'crnn' or 'prototype'"),
        ("model.hop_length=900", "n_fft 512"),
        ("model.mel_f_max_hz=5000", "model.mel_f_max_hz 5000 is above half of clips.sample_rate_hz 8000"),
        ("train.crop_s=2", "train.crop_s 2 is longer than a clip of 1 s"),
        (
            "train.crop_s=0.05",
            "train.crop_s 0.05 holds 400 samples, and two STFT frames take model.n_fft + model.hop_length = 832",
        ),
        ("train.batch_size=yes", "train.batch_size is 'yes': input should be a valid integer"),
        ("tune.trials=2", "tune.space is missing"),
        ("tune={space: {}}", "tune.space: Dictionary should have at least 1 item"),
        (
            "tune={trails: 2, space: {model.n_fft: [512]}}",
            "unknown key tune.trails; known keys: epochs, objective, space, trials",
        ),
        ("tune.space={model.nfft: [512]}", "model.nfft is not a setting to tune; those are model.architecture, model.n_fft"),
        ("tune.space={train.epochs: [5]}", "train.epochs is not a setting to tune"),
        ("tune.space={model.n_fft: 512}", "model.n_fft is 512: expected a list of values"),
        ("tune.space={model.n_fft: [512, big]}", "model.n_fft is 'big': input should be a valid integer"),
        ("tune.space={model.n_fft: [8]}", "model.n_fft is 8: input should be greater than or equal to 64"),
        ("tune.space={model.n_fft: {min: 64, max: 128}}", "model.n_fft takes a list of values; only a real number takes a range"),
        ("tune.space={train.learning_rate: {min: 1, max: 0.1}}", "min 1 is not below max 0.1"),
        ("tune.space={train.learning_rate: {min: 0, max: 1, log: true}}", "min 0 must be above 0 for log: true"),
        ("tune.space={train.learning_rate: {min: 0, max: 1}}", "train.learning_rate is 0.0: input should be greater than 0"),
        ("tune.space={train.label_smoothing: [0.0, 0.1]}", "changes the loss that trials are compared by"),
        (
            "tune.space={model.hop_length: [128, 2048]}",
            "hop_length 2048 cannot make a network: hop_length 2048 is longer than n_fft",
        ),
        (
            "tune.space={model.n_fft: [1024, 7900]}",
            "n_fft 7900 cannot make a network: train.crop_s 1 holds 8000 samples, and two STFT frames take",
        ),
        ("tune.space={train.crop_s: [1, 2]}", "crop_s 2 cannot make a network: train.crop_s 2 is longer than a clip of 1 s"),
        ("tune.space={model.mel_f_max_hz: [4000, 5000]}", "mel_f_max_hz 5000 is above half of clips.sample_rate_hz 8000"),
        ("gate.overall.min_accuracy=95", "gate.overall.min_accuracy is 95: input should be less than or equal to 1"),
        ("beam.clips=--runner=DirectRunner", "beam.clips is '--runner=DirectRunner': input should be a valid list"),
        ("clips", "--set clips: expected key.path=value"),
        ("clips.duration_s.x=1", "--set clips.duration_s.x=1: clips.duration_s is not a section"),
        ("clips.seed=[", "--set clips.seed=[: the value is not valid YAML"),
    ],
)
def test_an_impossible_setting_is_named_with_key_value_and_what_is_allowed(
    refused, config, make_corpus, tmp_path, setting, expected
):
    line = refused("run", "--config", config, "--corpus", make_corpus(), "--workdir", tmp_path / "work", "--set", setting)
    assert expected in line
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    "options",
    [
        "[--s3_access_key_id=ada, --s3_secret_access_key=hunter2]",
        "[--s3_secret_access_key, hunter2]",
        "[--s3_session_token=hunter2]",
        "[--azure_connection_string=x, --s3_endpoint_url=https://ada:hunter2@store]",
    ],
)
@pytest.mark.parametrize("key", ["beam.clips", "beam.pipeline"])
def test_a_credential_in_a_configuration_is_refused_and_not_repeated(refused, config, make_corpus, tmp_path, key, options):
    where = ["--corpus", make_corpus(), "--workdir", tmp_path / "work"]
    line = refused("run", "--config", config, *where, "--set", f"{key}={options}")
    assert "pass credentials in the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or a profile" in line
    assert "hunter2" not in line
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("key", ["-----BEGIN EC PRIVATE KEY-----\\nhunter2", "hunter2", "keys/hunter2"])
def test_a_key_that_is_no_absolute_path_is_refused_and_not_repeated(refused, config, make_corpus, tmp_path, key):
    where = ["--corpus", make_corpus(), "--workdir", tmp_path / "work"]
    line = refused("run", "--config", config, *where, "--set", f'push.private_key="{key}"')
    assert "push: private_key must be the absolute path of a file, such as /keys/private.pem" in line
    assert "hunter2" not in line
    assert not (tmp_path / "work").exists()


def test_no_old_version_beside_a_rollback_is_refused(refused, config, make_corpus, tmp_path):
    line = refused("run", "--config", config, "--corpus", make_corpus(), "--workdir", tmp_path / "work", "--set", "push.keep=0")
    assert "push: keep: 0 leaves no version that `rollback` could put back; keep at least 1, or set rollback: null" in line


def test_a_key_that_cannot_sign_is_told_before_anything_is_made(refused, config, make_corpus, tmp_path):
    where = ["--corpus", make_corpus(), "--workdir", tmp_path / "work"]
    line = refused("run", "--config", config, *where, "--set", f"push.private_key={tmp_path}/nowhere.pem")
    assert "nowhere.pem: the private key cannot be read (No such file" in line or "need the package model-signing" in line
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("clips: [", "config.yaml:2: not valid YAML"),
        ("", "config.yaml: holds no settings"),
        ("train: {epochs: 2}", "config.yaml: clips is missing"),
        ("clips: {duration_s: 3}", "config.yaml: clips.num_clips is missing"),
    ],
)
def test_a_file_that_is_no_configuration(generate, config, make_corpus, text, expected):
    config.write_text(text + "\n")
    assert expected in generate(make_corpus())


def test_no_such_configuration(refused, tmp_path):
    line = refused("run", "--config", tmp_path / "no.yaml", "--workdir", tmp_path / "work")
    assert line.startswith(f"{tmp_path}/no.yaml: No such file or directory; give a configuration file")
    assert not (tmp_path / "work").exists()


# Where results go.


def test_an_output_folder_that_is_not_empty_is_left_as_it_is(generate, make_corpus, tmp_path, read_folder):
    out = tmp_path / "out"
    (out / "train").mkdir(parents=True)
    (out / "train/notes.txt").write_text("mine")

    assert generate(make_corpus()) == f"{out}: not empty; choose another folder or remove this one"
    assert read_folder(out) == {"train/notes.txt": b"mine"}


def test_a_finished_dataset_is_not_written_over(generate, make_corpus, config, tmp_path, read_folder, audio_gender):
    corpus, out = make_corpus(), tmp_path / "out"
    done = audio_gender("clips", "generate", "--config", config, "--corpus", corpus, "--output", out)
    assert done.returncode == 0, done.stderr
    before = read_folder(out)

    again = audio_gender("clips", "generate", "--config", config, "--corpus", corpus, "--output", out)
    assert again.returncode == 0, again.stderr
    assert "already holds a dataset with other settings" in generate(corpus, "clips.seed=9")
    assert read_folder(out) == before


def test_an_output_that_is_a_file(generate, make_corpus, tmp_path):
    (tmp_path / "out").write_text("mine")
    assert generate(make_corpus()).startswith(f"{tmp_path}/out: ")
    assert (tmp_path / "out").read_text() == "mine"


def test_a_corpus_is_not_spoken_over_another_folder(refused, tmp_path, read_folder):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus/notes.txt").write_text("mine")
    assert f"{tmp_path}/corpus" in refused("corpus", "synth", tmp_path / "corpus")
    assert read_folder(tmp_path) == {"corpus/notes.txt": b"mine"}


@pytest.mark.parametrize("where", ["nowhere/result.json", "."])
def test_a_json_file_that_cannot_be_written_is_told_before_the_work_begins(refused, config, make_corpus, tmp_path, where):
    json_file = tmp_path / where
    line = refused("run", "--config", config, "--corpus", make_corpus(), "--workdir", tmp_path / "work", "--json", json_file)
    assert line.startswith(f"{json_file}: cannot be written")
    assert line.endswith("give another file to --json")
    assert not (tmp_path / "work").exists()


def test_a_work_folder_that_cannot_be_written(config, make_corpus, tmp_path, audio_gender):
    (tmp_path / "work").write_text("mine")
    done = audio_gender("run", "--config", config, "--corpus", make_corpus(), "--workdir", tmp_path / "work")
    assert done.returncode == 2
    assert only_line(done.stderr).startswith(f"{tmp_path}/work: cannot be written")


def test_two_runs_at_once_in_one_work_folder(config, make_corpus, tmp_path, audio_gender):
    workdir = tmp_path / "work"
    with WorkDir(workdir).locked():
        done = audio_gender("run", "--config", config, "--corpus", make_corpus(), "--workdir", workdir)

    assert (done.returncode, done.stdout) == (2, "")
    assert only_line(done.stderr).startswith(
        f"{workdir}: another run is using this folder; wait for it, or give another --workdir"
    )
    assert [path.name for path in workdir.iterdir()] == [".lock"]


@pytest.mark.parametrize(
    "command", [["export", "7", "--to", "onnx", "--workdir"], ["predict", "a.wav", "--model", "7", "--serving"]]
)
def test_no_such_version_is_one_line_before_any_library_speaks(refused, tmp_path, command):
    (tmp_path / "serving/5").mkdir(parents=True)
    folder = tmp_path if command[0] == "export" else tmp_path / "serving"
    assert refused(*command, folder).endswith(f"{tmp_path}/serving: no version 7; there are 5")


def test_no_runs_to_list(refused, tmp_path):
    line = refused("runs", "--workdir", tmp_path)
    assert line.startswith(
        f"{tmp_path}: no run was made here; make one with `audio-gender run --config demo --workdir {tmp_path}`"
    )
    assert list(tmp_path.iterdir()) == []


# The same by a process of its own, where it ends in a whole run.


@pytest.mark.parametrize("change", ["no corpus", "malformed line", "two speakers"])
def test_a_run_on_a_bad_corpus_ends_with_one_line_and_makes_nothing(config, make_corpus, tmp_path, audio_gender, change):
    corpus, workdir = make_corpus(1, 1) if change == "two speakers" else make_corpus(), tmp_path / "work"
    if change == "no corpus":
        corpus = tmp_path / "nowhere"
    if change == "malformed line":
        (corpus / "SPEAKERS.TXT").write_text("1 | F\n")
    done = audio_gender("run", "--config", config, "--corpus", corpus, "--workdir", workdir, "--json", tmp_path / "r.json")

    assert (done.returncode, done.stdout) == (2, "")
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")] == done.stderr.splitlines()[-1:]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "r.json").exists()
    for folder in ("clips", "tfx", "serving", "metadata.db"):
        assert not (workdir / folder).exists()
