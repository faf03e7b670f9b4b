# SPDX-License-Identifier: Apache-2.0
"""Fetching subsets from a real HTTP server on loopback that misbehaves as told."""

import hashlib
import io
import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from beam_jobs.corpus import download, fetch
from beam_jobs.corpus.download import Archive, RetryPolicy
from beam_jobs.corpus.fetch import fetch_subsets
from beam_jobs.corpus.librispeech import read_librispeech
from beam_jobs.errors import UserError
from pipeline import cli

POLICY = RetryPolicy(timeout_s=0.5, retries=4, backoff_s=0.001)
# The test corpus's.
SPEAKERS, SUBSET = [str(11 + k) for k in range(12)], "tones"
FIRST, SECOND = "dev-clean-2", "train-clean-5"


@dataclass(frozen=True)
class Answer:
    """How the server answers one request."""

    status: int = 200
    cut: int | None = None
    """The connection ends after so many bytes."""
    reset: bool = False
    """… by a reset."""
    stall: bool = False
    """… after a long silence."""
    ranges: bool = True
    shift: int = 0
    """The server sends another range than was asked for, so many bytes further on."""
    length: bool = True
    """The server says how long the answer is."""
    body: bytes | None = None
    retry_after: str = ""


class Mirror(ThreadingHTTPServer):
    """Serves `files` with ranges; `script` holds answers to the next requests, `asked` the Range headers of all of them."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.script: list[Answer] = []
        self.asked: list[str | None] = []
        self.sent = 0
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        server, asked = self.server, self.headers["Range"]
        server.asked.append(asked)
        answer = server.script.pop(0) if server.script else Answer()
        body = server.files.get(self.path) if answer.body is None else answer.body
        if body is None or answer.status != 200:
            self.send_response(404 if body is None else answer.status)
            if answer.retry_after:
                self.send_header("Retry-After", answer.retry_after)
            self.end_headers()
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) + answer.shift if asked and answer.ranges else 0
        if start > len(body):
            self.send_response(416)
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if answer.length:
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        part = body[start:] if answer.cut is None else body[start : start + answer.cut]
        server.sent += len(part)  # before the client has it, and looks
        self.wfile.write(part)
        if answer.stall:
            server.released.wait(timeout=20)
        if answer.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def tar_gz(source: Path, subset: str, speakers: list[str], speaker_list: str, *hostile: tarfile.TarInfo) -> bytes:
    """A subset as it is published, of some of the test corpus's speakers."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
        for info in hostile:
            tar.addfile(info)
        info = tarfile.TarInfo("LibriSpeech/SPEAKERS.TXT")
        info.size = len(speaker_list.encode())
        tar.addfile(info, io.BytesIO(speaker_list.encode()))
        for speaker in speakers:
            tar.add(source / SUBSET / speaker, f"LibriSpeech/{subset}/{speaker}")
    return packed.getvalue()


@pytest.fixture(scope="module")
def published(corpus: Path) -> dict[str, bytes]:
    """Two archives, half of the speakers each."""
    listed = (corpus / "SPEAKERS.TXT").read_text()
    return {FIRST: tar_gz(corpus, FIRST, SPEAKERS[:6], listed), SECOND: tar_gz(corpus, SECOND, SPEAKERS[6:], listed)}


@pytest.fixture
def publish(mirror: Mirror, monkeypatch) -> Callable[[str, bytes], None]:
    """A function that puts an archive on the server, with size and MD5 as published."""

    def put(subset: str, content: bytes) -> None:
        mirror.files[f"/31/{subset}.tar.gz"] = content
        archive = Archive(subset, 31, len(content), hashlib.md5(content).hexdigest())
        monkeypatch.setitem(fetch.ARCHIVES, subset, archive)

    return put


@pytest.fixture
def mirror(monkeypatch) -> Iterator[Mirror]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Mirror() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.released.set()
        server.shutdown()


@pytest.fixture
def archive(publish, published) -> bytes:
    """The archive of `FIRST`, with both on the server."""
    for subset, content in published.items():
        publish(subset, content)
    return published[FIRST]


@pytest.fixture
def run(mirror: Mirror, tmp_path: Path) -> Callable[..., Path]:
    """A function that fetches from the server into `tmp_path`/data."""

    def run(*subsets: str, policy: RetryPolicy = POLICY) -> Path:
        return fetch_subsets(subsets or (FIRST,), tmp_path / "data", mirror.url, policy)

    return run


def files(dest: Path) -> set[str]:
    """What is there, without the corpus's own files."""
    return {path.relative_to(dest).as_posix() for pattern in ("*", "LibriSpeech/*") for path in dest.glob(pattern)}


DONE = {"LibriSpeech", "LibriSpeech/SPEAKERS.TXT", f"LibriSpeech/{FIRST}"}


def test_published_archives():
    assert set(fetch.ARCHIVES) == {
        *("dev-clean", "dev-other", "test-clean", "test-other", "train-clean-100", "train-clean-360", "train-other-500"),
        *("dev-clean-2", "train-clean-5"),
    }
    assert all(re.fullmatch("[0-9a-f]{32}", archive.md5) for archive in fetch.ARCHIVES.values())
    assert len({archive.md5 for archive in fetch.ARCHIVES.values()}) == 9


def test_a_fetched_subset_is_a_corpus(archive, corpus, run, tmp_path):
    root = run()
    assert root == tmp_path / "data/LibriSpeech"
    index = read_librispeech(root)
    assert [speaker.id for speaker in index.speakers] == SPEAKERS[:6]
    for utterance in index.utterances():
        assert (root / utterance.path).read_bytes() == (corpus / utterance.path.replace(FIRST, SUBSET)).read_bytes()
    assert files(tmp_path / "data") == DONE
    assert json.loads((root / FIRST / ".completed").read_text())["flac_files"] == 18


def test_two_subsets_share_a_folder(archive, mirror, run):
    run()
    root = run(FIRST, SECOND, FIRST)
    index = read_librispeech(root)
    assert [speaker.id for speaker in index.speakers] == SPEAKERS
    assert {speaker.subset for speaker in index.speakers} == {FIRST, SECOND}
    assert len(mirror.asked) == 2


def test_lists_with_different_speakers_are_joined(corpus, publish, run):
    header, *lines = (corpus / "SPEAKERS.TXT").read_text().splitlines(keepends=True)
    publish(FIRST, tar_gz(corpus, FIRST, ["11", "12"], header + "".join(lines[:2])))
    publish(SECOND, tar_gz(corpus, SECOND, ["13", "14"], header + "".join(lines[1:4])))
    root = run(FIRST, SECOND)
    assert (root / "SPEAKERS.TXT").read_text() == header + "".join(lines[:4])
    assert len(read_librispeech(root).speakers) == 4


def test_lists_that_contradict_each_other(corpus, publish, run, tmp_path):
    listed = (corpus / "SPEAKERS.TXT").read_text()
    publish(FIRST, tar_gz(corpus, FIRST, ["11"], listed))
    publish(SECOND, tar_gz(corpus, SECOND, ["13"], listed.replace("11 | F", "11 | M")))
    with pytest.raises(UserError, match=r"speaker 11 is annotated female, and male in the archive; name another folder$"):
        run(FIRST, SECOND)
    assert not (tmp_path / "data/LibriSpeech" / SECOND).exists()


def test_connection_dropped_at_random_bytes(archive, mirror, run):
    draw = random.Random(0)
    mirror.script = [Answer(cut=draw.randrange(len(archive) // 8)) for _ in range(6)]
    root = run(policy=replace(POLICY, retries=6))
    assert len(read_librispeech(root).speakers) == 6
    # Every byte came once.
    assert mirror.sent == len(archive)
    assert len(mirror.asked) == 7


def test_connection_reset(archive, mirror, run):
    mirror.script = [Answer(cut=len(archive) // 2, reset=True), Answer(cut=0, reset=True)]
    assert len(read_librispeech(run()).speakers) == 6


def test_long_answers_start_the_count_of_failures_again(archive, mirror, run, monkeypatch):
    monkeypatch.setattr(download, "PROGRESS_BYTES", 1000)
    mirror.script = [Answer(cut=2000) for _ in range(12)]
    assert len(read_librispeech(run()).speakers) == 6
    assert len(mirror.asked) == 13


def test_stalling_server(archive, mirror, run):
    mirror.script = [Answer(cut=5000, stall=True), Answer(cut=0, stall=True)]
    started = time.monotonic()
    run(policy=replace(POLICY, timeout_s=0.2))
    assert time.monotonic() - started < 10
    assert mirror.asked == [None, "bytes=5000-", "bytes=5000-"]


def test_server_that_ignores_ranges(archive, mirror, run):
    mirror.script = [Answer(cut=5000), Answer(ranges=False, cut=7000), Answer(ranges=False)]
    assert len(read_librispeech(run()).speakers) == 6
    assert mirror.asked == [None, "bytes=5000-", "bytes=7000-"]


def test_server_that_sends_another_range(archive, mirror, run):
    mirror.script = [Answer(cut=5000), Answer(shift=100), Answer()]
    assert len(read_librispeech(run()).speakers) == 6
    assert mirror.asked == [None, "bytes=5000-", None]


def test_answer_without_length(archive, mirror, run):
    mirror.script = [Answer(cut=5000, length=False), Answer(length=False)]
    assert len(read_librispeech(run()).speakers) == 6
    assert mirror.asked == [None, "bytes=5000-"]


def test_busy_server(archive, mirror, run, capsys):
    mirror.script = [Answer(status=503), Answer(status=500), Answer(status=502, retry_after="soon")]
    assert len(read_librispeech(run()).speakers) == 6
    assert "dev-clean-2.tar.gz: the server answers 503 Service Unavailable; 0.0 MB are here; again now" in capsys.readouterr().err


def test_server_that_says_when_to_come_back(archive, mirror, run):
    mirror.script = [Answer(status=429, retry_after="1")]
    started = time.monotonic()
    run()
    assert time.monotonic() - started >= 1


def test_failures_double_the_wait(archive, mirror, run, monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr(download.time, "sleep", waits.append)
    mirror.script = [Answer(status=503)] * 7
    run(policy=RetryPolicy())
    assert waits == [0, 2, 4, 8, 16, 32, 60]


def test_server_that_stays_busy(archive, mirror, run, tmp_path):
    mirror.script = [Answer(cut=5000), *[Answer(status=503)] * 4]
    with pytest.raises(UserError, match=r"503 Service Unavailable, 5 times in a row; what was received is kept: run the same"):
        run()
    assert (tmp_path / "data/dev-clean-2.tar.gz.part").read_bytes() == archive[:5000]
    run()
    assert mirror.asked[-1] == "bytes=5000-"


def test_nobody_there(archive, mirror, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/"
    with pytest.raises(UserError, match=rf"^{url}31/dev-clean-2.tar.gz: connection refused, 5 times in a row"):
        fetch_subsets([FIRST], tmp_path, url, POLICY)


def test_no_such_archive(archive, mirror, run):
    mirror.files.clear()
    with pytest.raises(UserError, match=r"31/dev-clean-2.tar.gz: the server answers 404 Not Found; check --base-url$"):
        run()
    assert len(mirror.asked) == 1


def test_wrong_checksum(archive, mirror, run, tmp_path):
    mirror.script = [Answer(body=b"x" * len(archive))]
    with pytest.raises(
        UserError, match=r"MD5 [0-9a-f]{32}, but [0-9a-f]{32} is published; the download was deleted; try a mirror"
    ):
        run()
    assert files(tmp_path / "data") == {"LibriSpeech"}
    assert len(mirror.asked) == 1


def test_file_that_changed_between_two_pieces(archive, mirror, run):
    mirror.script = [Answer(body=b"x" * len(archive), cut=5000)]
    assert len(read_librispeech(run()).speakers) == 6
    assert mirror.asked == [None, "bytes=5000-", None]


def test_a_wrong_archive_over_a_flaky_line_is_downloaded_twice_at_most(archive, mirror, run, tmp_path):
    mirror.files[f"/31/{FIRST}.tar.gz"] = b"x" * len(archive)
    mirror.script = [answer for _ in range(20) for answer in (Answer(cut=len(archive) // 2), Answer())]
    with pytest.raises(UserError, match=r"MD5 [0-9a-f]{32}, but [0-9a-f]{32} is published; the download was deleted"):
        run()
    assert mirror.sent == 2 * len(archive)
    assert files(tmp_path / "data") == {"LibriSpeech"}


def test_a_mirror_without_ranges_that_always_breaks_off_is_given_up(archive, mirror, run, monkeypatch):
    monkeypatch.setattr(download, "PROGRESS_BYTES", 1000)
    mirror.script = [Answer(ranges=False, cut=len(archive) - 1000 * k) for k in range(60, 0, -1)]
    with pytest.raises(UserError, match=r"bytes received, 4 times the archive's size; try a mirror with --base-url"):
        run()
    assert mirror.sent < 5 * len(archive)


@pytest.mark.parametrize("answer", [Answer(), Answer(length=False)])
def test_file_of_another_size(archive, mirror, run, answer, tmp_path):
    mirror.script = [replace(answer, body=archive + b"x")]
    with pytest.raises(UserError, match=r"bytes(, where \d+ are published)?; try a mirror with --base-url$"):
        run()
    run()
    mirror.script = [Answer(cut=5000), replace(answer, body=archive + b"x")]
    with pytest.raises(UserError, match=r"bytes, where \d+ are published; try a mirror with --base-url$"):
        fetch_subsets([FIRST], tmp_path / "other", mirror.url, POLICY)


def test_file_that_became_shorter(archive, mirror, run):
    mirror.script = [Answer(cut=5000), Answer(body=b"x" * 4000), Answer(body=b"x" * 4000)]
    with pytest.raises(UserError, match=r"4000 bytes, where \d+ are published"):
        run()


def test_complete_subset_is_skipped(archive, mirror, run, capsys):
    run()
    run()
    assert len(mirror.asked) == 1
    assert "dev-clean-2: complete already" in capsys.readouterr().err


@pytest.mark.parametrize("lost", ["a file", "half a file", "the marker", "half the marker", "the list", "the folder"])
def test_incomplete_subset_is_repaired(archive, mirror, run, lost):
    root = run()
    audio, marker = next((root / FIRST).glob("*/*/*.flac")), root / FIRST / ".completed"
    if lost == "a file":
        audio.unlink()
    elif lost == "the list":
        (root / "SPEAKERS.TXT").unlink()
    elif lost == "the marker":
        marker.unlink()
    elif lost == "the folder":
        shutil.rmtree(root / FIRST)
    else:
        broken = audio if lost == "half a file" else marker
        broken.write_bytes(broken.read_bytes()[: broken.stat().st_size // 2])
    run()
    assert len(mirror.asked) == 2
    assert len(list(read_librispeech(root).utterances())) == 18


def test_archive_that_the_user_brought(archive, mirror, run, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/dev-clean-2.tar.gz").write_bytes(archive)
    run()
    assert mirror.asked == []
    assert files(tmp_path / "data") == DONE


def test_part_longer_than_the_archive(archive, mirror, run, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/dev-clean-2.tar.gz.part").write_bytes(archive + b"x")
    run()
    assert mirror.asked == [None]


def test_hostile_archive_with_the_right_checksum(corpus, publish, run, tmp_path):
    publish(FIRST, tar_gz(corpus, FIRST, ["11"], "", tarfile.TarInfo("../evil")))
    with pytest.raises(UserError, match=r"dev-clean-2.tar.gz: holds '../evil', a path that leaves the folder"):
        run()
    assert files(tmp_path / "data") == {"LibriSpeech", "dev-clean-2.tar.gz"}
    assert not list(tmp_path.rglob("evil"))


def test_cut_archive_with_the_right_checksum(archive, publish, run, tmp_path):
    publish(FIRST, archive[: len(archive) // 2])
    with pytest.raises(UserError, match=r"dev-clean-2.tar.gz: damaged or cut short"):
        run()
    assert files(tmp_path / "data") == {"LibriSpeech", "dev-clean-2.tar.gz"}


def test_archive_of_another_subset(corpus, publish, run):
    publish(FIRST, tar_gz(corpus, SECOND, ["11"], ""))
    with pytest.raises(UserError, match=r"holds no LibriSpeech/dev-clean-2;"):
        run()


def test_too_little_room(archive, mirror, run, monkeypatch, tmp_path):
    both = sum(fetch.ARCHIVES[subset].num_bytes for subset in (FIRST, SECOND))
    last = fetch.ARCHIVES[SECOND].num_bytes
    needed = round(1.1 * both + last)
    monkeypatch.setattr(fetch, "_free_bytes", lambda folder: needed - 10)
    with pytest.raises(UserError, match=r"GB free, and dev-clean-2, train-clean-5 and the archives need .* GB; free space or"):
        run(FIRST, SECOND)
    assert mirror.asked == []
    # What is there already needs no more room.
    (tmp_path / "data/dev-clean-2.tar.gz.part").write_bytes(archive[:5000])
    run(FIRST, SECOND)


def test_two_at_once(archive, mirror, run, tmp_path):
    (tmp_path / "data").mkdir()
    with fetch._alone_in(tmp_path / "data"), pytest.raises(UserError, match="another `corpus fetch` is running here"):
        run()
    run()


def test_folder_that_cannot_be_made(archive, mirror, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/LibriSpeech: cannot be used \(Not a directory\)"):
        fetch_subsets([FIRST], tmp_path / "file", mirror.url, POLICY)


def refused(capsys, monkeypatch, *arguments: str) -> str:
    monkeypatch.setattr(sys, "argv", ["audio-gender", "corpus", "fetch", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_words_of_the_command(archive, mirror, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x", "corpus", "fetch", FIRST, "--dest", str(tmp_path), "--base-url", mirror.url + "/"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code
    assert capsys.readouterr().err.splitlines() == [
        f"dev-clean-2: 18 utterances in {tmp_path}/LibriSpeech/dev-clean-2",
        f"next: `audio-gender corpus info {tmp_path}/LibriSpeech`",
    ]


def test_bad_arguments(tmp_path, capsys, monkeypatch):
    said = refused(capsys, monkeypatch, "dev-dirty", "--dest", str(tmp_path / "new"))
    assert said.startswith("error: no subset 'dev-dirty'; there are dev-clean, dev-other, ")
    for url in ("file:///etc", "mirror.org", "https://", "http:///x"):
        said = refused(capsys, monkeypatch, FIRST, "--dest", str(tmp_path / "new"), "--base-url", url)
        assert said.startswith(f"error: '{url}' is not a base URL; it starts with https:// or http:// and a host")
    assert refused(capsys, monkeypatch, FIRST, "--dest", str(tmp_path), "--base-url", "http://[").count("\n") == 1
    assert not (tmp_path / "new").exists()


COMMAND = """
import json, sys, time
from beam_jobs.corpus import fetch
from pipeline import cli
archive = fetch.Archive(*json.loads(sys.argv.pop(1)))
fetch.ARCHIVES[archive.subset] = archive
if sys.argv.pop(1) == "unpacking":
    fetch._add_lists = lambda *folders: time.sleep(60)
cli.main()
"""


@pytest.fixture
def start(mirror: Mirror, tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen]]:
    """A function that starts the command in a process of its own; with "unpacking" it stops before the last steps."""
    processes = []

    def start(where: str) -> subprocess.Popen:
        item = fetch.ARCHIVES[FIRST]
        table = json.dumps([item.subset, item.resource, item.num_bytes, item.md5])
        arguments = ["corpus", "fetch", FIRST, "--dest", str(tmp_path / "data"), "--base-url", mirror.url]
        command = [sys.executable, "-c", COMMAND, table, where, *arguments]
        root = Path(__file__).parents[2]
        processes.append(subprocess.Popen(command, cwd=root, env={**os.environ}, stderr=subprocess.PIPE, text=True))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stderr.close()


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.02)
    pytest.fail("waited for 20 s")


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_stopped_while_downloading(archive, mirror, run, start, stop, tmp_path):
    part = tmp_path / "data/dev-clean-2.tar.gz.part"
    mirror.script = [Answer(cut=100_000, stall=True)]
    process = start("downloading")
    wait_until(lambda: part.exists() and part.stat().st_size > 50_000)
    process.send_signal(stop)
    _, said = process.communicate(timeout=20)
    if stop == signal.SIGINT:
        assert "stopped; the same command resumes from here" in said
        assert "Traceback" not in said
    assert process.returncode not in (0, 2)
    assert files(tmp_path / "data") == {"LibriSpeech", part.name}
    have = part.stat().st_size
    assert archive.startswith(part.read_bytes())
    run()
    assert mirror.asked == [None, f"bytes={have}-"]
    assert files(tmp_path / "data") == DONE


def test_killed_while_unpacking(archive, mirror, run, start, tmp_path):
    unpacking = tmp_path / f"data/LibriSpeech/.{FIRST}.unpacking"
    process = start("unpacking")
    wait_until(lambda: len(list(unpacking.rglob("*.flac"))) == 18)
    process.kill()
    process.communicate(timeout=20)
    assert not (tmp_path / "data/LibriSpeech" / FIRST).exists()
    run()
    # The archive was there, and was not downloaded again.
    assert mirror.asked == [None]
    assert files(tmp_path / "data") == DONE
