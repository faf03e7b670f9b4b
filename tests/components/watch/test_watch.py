# SPDX-License-Identifier: Apache-2.0
"""`audio-gender watch` over real logs of a real server's kind: what it says, and of bad input."""

import dataclasses
import http.server
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
from prometheus_client.parser import text_string_to_metric_families
from request_logs import DAY_S, at, drawn, write_log, write_serving
from scipy.spatial import distance

from beam_jobs.errors import UserError
from beam_jobs.examples import frame_record
from components.pusher.provenance import Provenance
from components.pusher.serving_folder import push, roll_back
from components.watch.check import check
from components.watch.config import WatchConfig
from components.watch.drawings import by_day
from components.watch.drift import energy_test, holm
from components.watch.page import MEANING
from components.watch.records import CANARY, REFERENCE_FILE, encode, hour_of
from components.watch.tell import call_webhook

CONFIG = WatchConfig()


@pytest.fixture
def serving(tmp_path: Path) -> Path:
    return write_serving(tmp_path / "serving")


def look(serving: Path, log: Path, tmp_path: Path, since_s: float | None = None, config: WatchConfig = CONFIG):
    folder = tmp_path / "beam"
    folder.mkdir(exist_ok=True)
    return check(serving, log, time.time() - 7 * DAY_S if since_s is None else since_s, None, config, [], str(folder)).result


def test_the_same_kind_of_requests_is_no_alarm_and_another_is(serving: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    canary = dataclasses.replace(drawn(np.random.default_rng(1), 300)[0], path=CANARY, version=5, time_s=time.time() - 60)
    write_log(tmp_path / "same", [*at(drawn(rng, 250), 1), *at(drawn(rng, 250), 3), canary])
    write_log(tmp_path / "other", [*at(drawn(rng, 250), 1), *at(drawn(rng, 250, shift=1.0, sure=0.7), 0.1), canary])

    same, other = look(serving, tmp_path / "same", tmp_path), look(serving, tmp_path / "other", tmp_path)

    assert (same.status, same.requests, same.sample, same.reasons) == ("quiet", 500, 500, [])
    assert (same.skew.value, same.skew.asked) == (0.0, 1)
    assert len(same.days) == 2 and sum(day.requests for day in same.days) == 500
    assert other.status == "alarm"
    alarms = {item.name for item in other.drift if item.alarm}
    assert {"level_dbfs", "band_hz", "embedding", "mel 1"} <= alarms and "duration_s" not in alarms
    # Half of them were right with 0.9 and half with 0.7.
    assert other.accuracy.value == pytest.approx(0.8, abs=0.005) and other.accuracy.alarm
    assert same.accuracy.low <= 0.9 <= same.accuracy.high and not same.accuracy.alarm


def test_tfdv_and_the_energy_distance_give_what_their_definitions_do(serving: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    here, there = drawn(rng, 60, shift=0.5), drawn(rng, 80)
    coefficient, p = energy_test(here, there)

    scale = np.array([record.embedding for record in there], np.float64).std(axis=0) + 1e-6
    x, y = (np.array([record.embedding for record in records]) / scale for records in (here, there))
    between = distance.cdist(x, y).mean()
    assert coefficient == pytest.approx(
        (2 * between - distance.cdist(x, x).mean() - distance.cdist(y, y).mean()) / (2 * between), rel=1e-6
    )
    assert p < 0.001
    same, p_same = energy_test(drawn(rng, 60), drawn(rng, 80))
    assert same < coefficient and p_same > 0.01

    # R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_too_few_requests_and_an_empty_week_are_said_and_no_alarm(serving: Path, tmp_path: Path) -> None:
    write_log(tmp_path / "few", at(drawn(np.random.default_rng(4), 30, shift=3), 1))
    (tmp_path / "empty").mkdir()

    few, empty = look(serving, tmp_path / "few", tmp_path), look(serving, tmp_path / "empty", tmp_path)

    assert (few.status, few.with_speech) == ("too few requests", 30)
    assert "30 requests with speech, fewer than watch.min_requests 100: nothing is judged" in few.notes
    assert (empty.status, empty.requests, empty.notes) == ("too few requests", 0, ["no requests of this version in this time"])


def test_torn_files_other_versions_and_wrong_clocks_are_left_out_and_told(serving: Path, tmp_path: Path) -> None:
    rng, log = np.random.default_rng(5), tmp_path / "log"
    (torn, *_) = write_log(log, at(drawn(rng, 200), 1.0))
    content = torn.read_bytes()
    torn.write_bytes(content[:-17])  # a server that was killed while it wrote
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 0xFF
    torn.with_name(torn.name.replace("00ff", "0bad")).write_bytes(bytes(flipped))
    torn.with_name(torn.name.replace("00ff", "0abc")).write_bytes(frame_record(b"\xff\xffnot a tf.Example")[0])
    write_log(log, at([dataclasses.replace(record, version=4) for record in drawn(rng, 50)], 2.0))
    ahead = hour_of(time.time())
    future = [dataclasses.replace(record, time_s=time.time() + 40 * DAY_S) for record in drawn(rng, 7)]
    write_log(log, future[:4])  # as a server writes them, whose files have the hour of their records
    past = [dataclasses.replace(record, time_s=12.0) for record in drawn(rng, 9)]
    (log / f"{ahead}Z-0c10.tfrecord").write_bytes(
        b"".join(part for record in [*future[4:], *past] for part in frame_record(encode(record)))
    )
    (log / "notes.txt").write_text("whatever")

    result = look(serving, log, tmp_path)

    assert 199 + 80 <= result.requests <= 199 + 120 and result.judged  # the flipped file is read up to its middle
    assert "3 places where a file is cut or damaged; what comes before them was read" in result.notes
    assert "50 requests were answered by version 4; left out" in result.notes
    assert "7 records from the future, by a wrong clock; left out" in result.notes


def test_a_model_that_a_rollback_put_in_front_again_is_one_model(serving: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    from_the_gate = Provenance(by="gate", login="test@here")
    first = push(serving / "5", tmp_path / "folder", from_the_gate, keep=None).version
    other = tmp_path / "other"
    shutil.copytree(serving / "5", other)
    (other / "saved_model.pb").write_bytes(b"another network")
    second = push(other, tmp_path / "folder", from_the_gate, keep=None).version
    back = roll_back(tmp_path / "folder", first, "ada", "ada@here", "it was better").version
    answered = [dataclasses.replace(record, version=version) for version in (first, second, back) for record in drawn(rng, 40)]
    write_log(tmp_path / "log", at(answered, 1))

    result = look(tmp_path / "folder", tmp_path / "log", tmp_path)

    assert (result.version, result.requests) == (back, 80)
    assert f"40 requests were answered by version {second}; left out" in result.notes


def test_a_model_without_a_reference_or_with_a_damaged_one_is_one_line(serving: Path, tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    path = serving / "5" / REFERENCE_FILE
    content = path.read_bytes()
    path.write_bytes(content[:-5])
    with pytest.raises(UserError, match=r"damaged .*; push the version again"):
        look(serving, tmp_path / "log", tmp_path)
    path.unlink()
    with pytest.raises(UserError, match=r"has no reference .* train and push a new one"):
        look(serving, tmp_path / "log", tmp_path)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"no log: No such file or directory; give the folder of `serve --log`"):
        look(serving, tmp_path / "no log", tmp_path)


def test_a_server_that_hears_otherwise_than_the_training_is_an_alarm(serving: Path, tmp_path: Path) -> None:
    canary = dataclasses.replace(drawn(np.random.default_rng(1), 300)[0], path=CANARY, version=5, time_s=time.time() - 60)
    mel = canary.mel.copy()
    mel[3] += 0.01
    write_log(tmp_path / "log", [canary, dataclasses.replace(canary, mel=mel, time_s=time.time() - 30)])

    result = look(serving, tmp_path / "log", tmp_path)

    assert result.status == "alarm" and result.skew.asked == 2 and 1e-4 < result.skew.value < 1e-3
    assert result.reasons[0].startswith("skew: the server hears its canary recording differently")


class Hook(http.server.BaseHTTPRequestHandler):
    got: list[dict] = []
    drip = False

    def do_POST(self) -> None:
        Hook.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        if Hook.drip:
            for _ in range(60):
                time.sleep(0.3)
                try:
                    self.wfile.write(b"H")
                    self.wfile.flush()
                except OSError:
                    return
            return
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[str]:
    Hook.got, Hook.drip = [], False
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/secret-path"
    server.shutdown()


class Text(HTMLParser):
    """What a page says, and what it loads."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.said = ""
        self.loaded: list[str] = []
        self.feed(page)

    def handle_data(self, data: str) -> None:
        self.said += data

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.loaded += [
            value for name, value in attributes if name in ("src", "href") and value and not value.startswith(("data:", "#"))
        ]


@pytest.mark.parametrize("title", [*MEANING.values(), "requests", "share", "mean"])
def test_a_title_is_no_longer_than_the_axis_that_it_stands_beside(title: str) -> None:
    chart = by_day(["2026-11-14", "2026-11-15"], [1.0, 2.0], title)
    (height,) = {float(found) for found in re.findall(r'd="M0,0h\d+v(\d+)h-\d+Z"', chart)}
    (size,) = re.findall(rf'rotate\(-90\)[^>]*font-size="(\d+)px"[^>]*>{re.escape(title)}<', chart)
    assert len(title) * 0.55 * float(size) < height  # sans-serif letters are about half as wide as they are high


def test_the_command_writes_a_page_json_metrics_and_tells_the_webhook(
    serving: Path, tmp_path: Path, hook: str, make_tone: Callable
) -> None:
    file = io.BytesIO()
    soundfile.write(file, make_tone(200, 1.0), 16_000, format="FLAC")
    rng = np.random.default_rng(6)
    far = dataclasses.replace(drawn(rng, 1, shift=20)[0], audio=file.getvalue())
    write_log(tmp_path / "log", [*at(drawn(rng, 150, shift=1), 1), *at([far, *drawn(rng, 150, shift=1)], 3)])
    command = [sys.executable, "-m", "pipeline", "watch", "--log", str(tmp_path / "log"), "--serving", str(serving)]
    outputs = ["--html", "page.html", "--json", "result.json", "--metrics", "watch.prom", "--webhook", hook]

    done = subprocess.run([*command, *outputs], cwd=tmp_path, capture_output=True, text=True, env={**os.environ})

    assert done.returncode == 3, done.stderr
    assert "audio-gender version 5: alarm: drift of" in done.stdout and "Traceback" not in done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["status"], result["requests"], result["version"]) == ("alarm", 301, 5)
    page = Text((tmp_path / "page.html").read_text())
    assert "Alarm" in page.said and "Least like the training set" in page.said and not page.loaded
    assert (tmp_path / "page.html").read_text().count("<audio") == 1  # the one whose sound was kept, and it is farthest
    metrics = {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families((tmp_path / "watch.prom").read_text())
        for sample in family.samples
    }
    assert metrics["audio_gender_watch_alarm", ()] == 1 and metrics["audio_gender_watch_drift_alarm", ("level_dbfs",)] == 1
    (told,) = Hook.got
    assert told["text"].startswith("audio-gender version 5: alarm") and "unlike" not in told

    quiet = subprocess.run(
        [*command, "--set", "watch.min_requests=1000", "--json", "-"], cwd=tmp_path, capture_output=True, text=True
    )
    assert quiet.returncode == 0 and json.loads(quiet.stdout)["status"] == "too few requests"


def test_a_webhook_that_hangs_or_is_not_there_is_not_waited_for(serving: Path, tmp_path: Path, hook: str) -> None:
    write_log(tmp_path / "log", at(drawn(np.random.default_rng(7), 150, shift=1), 1))
    result = look(serving, tmp_path / "log", tmp_path)
    Hook.drip = True

    started = time.monotonic()
    assert call_webhook(result, hook, timeout_s=1.0) == "did not answer within 1 s"
    assert time.monotonic() - started < 15  # its answer takes 18 s
    assert "refused" in call_webhook(result, "http://127.0.0.1:9/x", timeout_s=2.0)


@pytest.mark.parametrize("since", ["7", "week", "0d", "-1d"])
def test_a_time_that_is_none_is_refused(since: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipeline", "watch", "--log", str(tmp_path), f"--since={since}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "expected a number of hours, days or weeks" in done.stderr
