# SPDX-License-Identifier: Apache-2.0
"""Named pipes, sockets and devices where a file is expected: one line at once, where opening one would wait for ever."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from commands import COMMAND, CONFIG, call, environment, only_line


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


def become(kind: str, path: Path) -> None:
    """Puts a special file in the place of `path`."""
    path.unlink(missing_ok=True)
    if kind == "a named pipe":
        os.mkfifo(path)
    elif kind == "a device":
        path.symlink_to("/dev/zero")  # has no end
    else:
        here = Path.cwd()
        os.chdir(path.parent)  # a socket's path is short
        try:
            socket.socket(socket.AF_UNIX).bind(path.name)
        finally:
            os.chdir(here)


KINDS = ["a named pipe", "a device", "a socket"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["SPEAKERS.TXT", "validated.tsv", "vox1_meta.csv", "utterances.csv"])
def test_a_speaker_list(tmp_path, kind, name):
    become(kind, tmp_path / name)
    line = only_line(call("corpus", "info", tmp_path))
    assert line.startswith(f"{tmp_path}/{name}: ")
    assert f"{kind}, not a file" in line


@pytest.mark.parametrize("kind", KINDS)
def test_audio_is_left_out_with_its_reason(own_corpus, tmp_path, config, kind):
    path = min(own_corpus.glob("tones/11/1/*.flac"))
    become(kind, path)
    done = call("corpus", "info", own_corpus)
    assert done.returncode == 0
    assert f"{path.relative_to(own_corpus)}: cannot be opened: {kind}, not a file" in done.stdout


def test_audio_named_in_a_csv(own_corpus):
    become("a named pipe", own_corpus / "pipe.mp3")
    (own_corpus / "SPEAKERS.TXT").unlink()
    (own_corpus / "utterances.csv").write_text("path,speaker_id,label\npipe.mp3,1,male\n")
    assert "pipe.mp3: cannot be opened: a named pipe, not a file" in only_line(call("corpus", "info", own_corpus))


def test_audio_that_became_a_pipe_since_it_was_listed(own_corpus, tmp_path, config):
    index = tmp_path / "index.json"
    assert call("corpus", "info", own_corpus, "--json", index).returncode == 0
    for path in own_corpus.glob("tones/11/1/*.flac"):
        become("a named pipe", path)
    arguments = ["--config", config, "--corpus", own_corpus, "--index", index, "--output", tmp_path / "out"]
    options = ["--set", "max_rejected_share=0"]
    done = subprocess.run(
        [sys.executable, "-m", "beam_jobs.generate_clips", *map(str, arguments), *options],
        capture_output=True, text=True, env=environment(), timeout=300,
    )  # fmt: skip
    # Whether it is drawn is chance: without end is what it must not be.
    assert done.returncode in (0, 2), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_a_configuration(tmp_path, kind):
    become(kind, tmp_path / "c.yaml")
    line = only_line(call("run", "--config", tmp_path / "c.yaml", "--workdir", tmp_path / "work"))
    assert line.startswith(f"{tmp_path}/c.yaml: {kind}, not a file")
    assert not (tmp_path / "work").exists()


def test_a_configuration_that_the_shell_hands_over_is_read(config, tmp_path):
    line = 'exec "$@" --config <(echo "clips: {duration: 1}") --workdir w'
    done = subprocess.run(
        ["bash", "-c", line, "bash", *COMMAND, "run"], cwd=tmp_path, capture_output=True, text=True, env=environment(), timeout=60
    )
    # It was read and validated.
    assert only_line(done).startswith("/dev/fd/")
    assert "clips." in only_line(done)


def test_an_index(own_corpus, config, tmp_path):
    become("a named pipe", tmp_path / "index.json")
    arguments = ["--config", config, "--corpus", own_corpus, "--index", tmp_path / "index.json", "--output", tmp_path / "out"]
    done = subprocess.run(
        [sys.executable, "-m", "beam_jobs.generate_clips", *map(str, arguments)],
        capture_output=True, text=True, env=environment(), timeout=120,
    )  # fmt: skip
    assert "index.json: a named pipe, not a file" in only_line(done)


def test_files_of_a_dataset(corpus, config, tmp_path):
    folder = tmp_path / "clips"
    assert call("clips", "generate", "--config", config, "--corpus", corpus, "--output", folder).returncode == 0
    shard = next((folder / "train").glob("*.tfrecord"))
    for path in (shard, folder / "clips.csv", folder / "dataset_info.json"):
        shutil.copytree(folder, tmp_path / "spoilt", dirs_exist_ok=True)
        become("a named pipe", tmp_path / "spoilt" / path.relative_to(folder))
        done = call("clips", "inspect", tmp_path / "spoilt", "--html", tmp_path / "page.html")
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1].startswith(f"error: {tmp_path}/spoilt")
        assert "Traceback" not in done.stderr
        shutil.rmtree(tmp_path / "spoilt")


def test_a_package_and_a_token(tmp_path):
    become("a named pipe", tmp_path / "p.yaml")
    (tmp_path / "token").write_text("t")
    become("a named pipe", tmp_path / "token")
    line = only_line(call("submit", tmp_path / "p.yaml", "--host", "http://127.0.0.1:9", "--token-file", tmp_path / "token"))
    assert "token: a named pipe, not a file" in line


@pytest.mark.parametrize("name", ["dev-clean-2.tar.gz", "dev-clean-2.tar.gz.part"])
def test_a_download(tmp_path, name):
    become("a named pipe", tmp_path / name)
    line = only_line(call("corpus", "fetch", "dev-clean-2", "--dest", tmp_path, "--base-url", "http://127.0.0.1:9"))
    assert f"{name}: cannot be used (a named pipe, not a file)" in line
