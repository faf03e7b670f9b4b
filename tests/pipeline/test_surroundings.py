# SPDX-License-Identifier: Apache-2.0
"""Machines and accounts that are not the makers' own: no home, no name, no terminal, another locale, few file descriptors."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import COMMAND, CONFIG, ROOT, call, call_here, environment, only_line, open_to_all
from small_demo import ANY_MODEL, SMALL

STRANGER = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", "--"]
"""A user whose number is in no passwd."""
ROOT_ALONE = pytest.mark.skipif(
    os.geteuid() != 0 or not open_to_all(ROOT), reason="only root can become another user and mount; and that user must get here"
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder of a stranger's, outside of pytest's own, which every new session closes to all but its user."""
    with tempfile.TemporaryDirectory() as parent:
        Path(parent).chmod(0o755)
        folder = Path(parent, "of a stranger")
        folder.mkdir()
        os.chown(folder, 12345, 12345)
        yield folder


def stranger(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs `audio-gender` as a user without a name and with nothing in the environment but `variables`."""
    variables = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), **variables}
    words = [*STRANGER, *COMMAND, *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, env=variables, cwd="/", timeout=900)


# What stands between a stranger and a model: numba's cache, matplotlib's, nltk's data, altair's, Beam's, Keras's.
IMPORTS = (
    "import librosa, librosa.display, matplotlib.pyplot, nltk, altair, apache_beam, kfp, tensorflow_model_analysis; "
    "from components.pusher.provenance import login; print(login())"
)


@pytest.mark.slow
@ROOT_ALONE
@pytest.mark.parametrize("home", ["/nonexistent", None, "", "/proc", "/root"])
def test_every_library_finds_a_folder_for_its_cache(public, home):
    variables = {} if home is None else {"HOME": home}
    done = subprocess.run(
        [*STRANGER, sys.executable, "-c", f"import components; {IMPORTS}"],
        capture_output=True, text=True, cwd="/", timeout=600,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "TMPDIR": str(public), **variables},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("12345@")
    assert "is not a writable" not in done.stderr
    assert (public / "audio-gender-12345").stat().st_mode & 0o777 == 0o700


def test_a_cache_that_somebody_else_laid_out_is_not_used(tmp_path):
    """numba runs what it finds in its cache."""
    trap = tmp_path / f"audio-gender-{os.getuid()}"
    trap.mkdir()
    trap.chmod(0o777)
    program = "import beam_jobs, os; print(os.environ['XDG_CACHE_HOME'])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True,
        env=environment(TMPDIR=str(tmp_path), HOME="/dev/null", XDG_CACHE_HOME="/dev/null/x"),
    )  # fmt: skip
    used = Path(done.stdout.strip())
    assert used != trap
    assert used.stat().st_mode & 0o777 == 0o700


def test_a_home_that_can_be_written_is_left_alone(tmp_path):
    program = "import os; before = dict(os.environ); import beam_jobs; print(dict(os.environ) == before)"
    variables = {name: value for name, value in environment(HOME=str(tmp_path)).items() if name != "XDG_CACHE_HOME"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=variables)
    assert done.stdout == "True\n", done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@ROOT_ALONE
def test_a_whole_run_by_a_user_without_name_and_home(public):
    """On a root file system that cannot be written, as the image runs."""
    settings = [word for setting in (*SMALL, *ANY_MODEL) for word in ("--set", setting)]
    work, temporary = public / "w", public / "t"
    for folder in (work, temporary):
        folder.mkdir()
        os.chown(folder, 12345, 12345)
    words = ["run", "--config", ROOT / "pipeline/configs/demo.yaml", "--workdir", work, *settings]
    mounts = 'mount --bind "$0" "$0" && mount -o remount,bind,ro / && exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mounts, public, *STRANGER, *COMMAND, *map(str, words)],
        capture_output=True, text=True, cwd="/", timeout=1500,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "\npushed\n" in done.stdout
    assert {path.name for path in temporary.iterdir()} == {"audio-gender-12345"}


@ROOT_ALONE
def test_no_folder_for_temporary_files(public):
    config = public / "config.yaml"
    config.write_text(CONFIG)
    # /proc cannot be written by anybody, and neither can what is mounted read-only.
    words = [*STRANGER, *COMMAND, "run", "--config", config, "--corpus", "/nowhere", "--workdir", public / "w"]
    mounts = 'mount --bind "$0" "$0" && mount -o remount,bind,ro / && exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mounts, public, *map(str, words)],
        capture_output=True, text=True, cwd="/proc", timeout=120, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert only_line(done) == "no writable folder for temporary files; set TMPDIR to one with enough space"


# Standard streams.


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams(corpus, config, tmp_path, closed):
    words = ["clips", "generate", "--config", config, "--corpus", corpus, "--output", tmp_path / "out"]
    done = subprocess.run(["sh", "-c", f'exec "$@" {closed}', "sh", *COMMAND, *map(str, words)], env=environment(), timeout=300)
    assert done.returncode == 0
    for shard in (tmp_path / "out/train").glob("*.tfrecord"):
        assert b"WARNING" not in shard.read_bytes()


@pytest.mark.parametrize("redirection", ["", "2>&1"])
def test_a_reader_that_has_seen_enough(corpus, tmp_path, redirection):
    line = f'{{ "$@" {redirection}; echo $? >{tmp_path}/status; }} | head -c 1'
    done = subprocess.run(
        ["bash", "-c", line, "bash", *COMMAND, "corpus", "info", corpus],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=120,
    )
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
    assert (tmp_path / "status").read_text().strip() in ("0", "1", "141")


@pytest.mark.parametrize(
    "variables",
    [
        {"LC_ALL": "C"},
        {"LANG": "de_DE.ISO-8859-1", "LC_ALL": ""},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"TERM": ""},
        {"TERM": "dumb"},
        {"NO_COLOR": "1"},
        {"TMPDIR": "/nowhere"},
        {"TZ": "Pacific/Kiritimati"},
        {"TZ": "nonsense"},
        {"PYTHONSTARTUP": "/dev/zero"},
        {"COLUMNS": "0"},
        {"COLUMNS": "nonsense"},
        {"LINES": "-1", "COLUMNS": "-1"},
    ],
    ids=str,
)
def test_environments(own_corpus, config, tmp_path, variables):
    corpus = own_corpus.rename(tmp_path / "Stimmen größer 'und' \"schöner\"")
    generated = call("clips", "generate", "--config", config, "--corpus", corpus, "--output", tmp_path / "Ausgäbe …", **variables)
    assert generated.returncode == 0, generated.stderr
    assert "Traceback" not in generated.stderr
    told = call("corpus", "info", tmp_path / "gibt es nicht …", **variables)
    assert told.returncode == 2
    assert "no such folder" in told.stderr


def test_junk_on_the_python_path(corpus, config, tmp_path):
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk/notes.py").write_text("raise SystemExit(3)\n")
    path = os.pathsep.join([str(ROOT), str(tmp_path / "junk"), "/nowhere", "", str(tmp_path / "no.zip")])
    done = call("clips", "generate", "--config", config, "--corpus", corpus, "--output", tmp_path / "out", PYTHONPATH=path)
    assert done.returncode == 0, done.stderr


# Folders.


@pytest.mark.parametrize(
    "name",
    [
        "with space",
        "it's",
        'a "quote"',
        "line\nend",
        "$HOME;`id`",
        "ünï …",
        b"latin-\xe9".decode(errors="surrogateescape"),
        "#%41",
        "~",
    ],
    ids=ascii,
)
def test_names_of_folders(own_corpus, config, tmp_path, name):
    corpus = own_corpus.rename(tmp_path / name)
    for path in corpus.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    corpus.chmod(0o555)
    output = tmp_path / f"{name} out"
    done = call_here("clips", "generate", "--config", config, "--corpus", corpus, "--output", output)
    if "\udce9" in name:  # JSON and protobuf hold text alone
        assert only_line(done).startswith(f"{tmp_path}/latin-\\udce9: the folder's name is not UTF-8")
        return
    assert done.returncode == 0, done.stderr
    assert call_here("clips", "inspect", output, "--html", tmp_path / "page.html").returncode == 0


def test_a_very_long_path(config, corpus, tmp_path):
    deep = tmp_path.joinpath(*["d" * 200] * 30)
    line = only_line(call_here("clips", "generate", "--config", config, "--corpus", corpus, "--output", deep))
    assert "File name too long" in line
    assert "no such folder" in only_line(call_here("corpus", "info", deep))


@pytest.mark.parametrize("limits", ["umask 077", "ulimit -n 256", "ulimit -n 64", "ulimit -c 0; ulimit -s 1024"])
def test_limits(own_corpus, config, tmp_path, limits):
    before = ("bash", "-c", f'{limits}; exec "$@"', "bash")
    done = call("clips", "generate", "--config", config, "--corpus", own_corpus, "--output", tmp_path / "out", before=before)
    assert done.returncode == 0, done.stderr
