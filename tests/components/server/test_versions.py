# SPDX-License-Identifier: Apache-2.0
"""A version that comes while requests go on: taken up without a lost one, or, damaged, not at all."""

import base64
import gc
import json
import shutil
import threading
import time
import weakref
from pathlib import Path

import pytest
from chromium import wait_for
from keys import make_keys, sign_outside
from running_server import put, running

from beam_jobs.errors import UserError
from components.model_digest import PROVENANCE_FILE, model_digest
from components.pusher.provenance import Provenance
from components.pusher.serving_folder import push, roll_back

pytestmark = pytest.mark.slow

PREDICT = "/v1/models/audio-gender:predict"


def version(server) -> int:
    return int(server.ask("GET", "/v1/models/audio-gender").json["model_version_status"][0]["version"])


def test_versions_come_and_go_under_load_without_a_lost_request(saved_models, serving, voices):
    body = {"signature_name": "wav", "instances": [{"b64": base64.b64encode(voices[1]).decode()}]}
    answers, stop = [], threading.Event()
    with running(serving, poll_s=0.1) as server:

        def client() -> None:
            while not stop.is_set():
                answers.append(server.ask("POST", PREDICT, body))

        clients = [threading.Thread(target=client) for _ in range(2)]
        for one in clients:
            one.start()
        first = weakref.ref(server.server.versions.current)
        pushed = push(serving / "1", serving, Provenance(by="a", login="a@b"), keep=None)
        wait_for(lambda: version(server) == pushed.version)
        back = roll_back(serving, None, "a", "a@b", "")
        wait_for(lambda: version(server) == back.version)
        stop.set()
        for one in clients:
            one.join()
        wait_for(lambda: gc.collect() is not None and first() is None)
        taken_up = server.figure("audio_gender_versions_taken_up_total")

    assert len(answers) > 10 and {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert taken_up == 3


def damage_graph(folder):
    (folder / "saved_model.pb").write_bytes((folder / "saved_model.pb").read_bytes()[:1000])


def damage_weights(folder):
    path = next((folder / "variables").glob("variables.data*"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def lose_weights(folder):
    shutil.rmtree(folder / "variables")


def hold_text(folder):
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "saved_model.pb").write_text("no model")


@pytest.mark.parametrize("damage", [damage_graph, damage_weights, lose_weights, hold_text])
def test_a_damaged_version_is_not_taken_up_until_it_is_whole(saved_models, serving, tmp_path, damage, capsys):
    spoilt = tmp_path / "spoilt"
    shutil.copytree(saved_models["trained"], spoilt)
    damage(spoilt)
    with running(serving, poll_s=0.1) as server:
        put(spoilt, serving, 2)
        wait_for(lambda: server.figure("audio_gender_versions_refused_total") == 1)
        time.sleep(0.5)
        assert server.figure("audio_gender_versions_refused_total") == 1, "tried again, though nothing changed"
        assert version(server) == 1
        shutil.rmtree(serving / "2")
        put(saved_models["trained"], serving, 2)
        wait_for(lambda: version(server) == 2)


def test_other_files_than_were_pushed_are_not_taken_up(serving):
    pushed = push(serving / "1", serving, Provenance(by="a", login="a@b"), keep=None)
    (serving / str(pushed.version) / "assets" / "another.txt").write_text("")
    with running(serving) as server:
        assert version(server) == 1


def test_only_versions_that_were_signed_with_the_key_are_taken_up(saved_models, serving, tmp_path):
    pytest.importorskip("model_signing", reason="the optional package model-signing is not installed")
    keys, other = make_keys(tmp_path / "keys"), make_keys(tmp_path / "other")

    def put_signed(private_key: Path | None) -> Path:
        stored = push(Path(saved_models["trained"]), serving, Provenance(by="a", login="a@b"), None, private_key)
        return serving / str(stored.version)

    with pytest.raises(UserError, match=r"none of its versions \(1\) can be loaded"), running(serving, public_key=keys.public):
        pass
    first = put_signed(keys.private)
    # Whoever changes a model can change its digest too.
    changed = shutil.copytree(first, tmp_path / "changed")
    (changed / "assets/another.txt").write_text("")
    known = json.loads((changed / PROVENANCE_FILE).read_text())
    (changed / PROVENANCE_FILE).write_text(json.dumps({**known, "model_digest": model_digest(changed)}))
    with running(serving, poll_s=0.1, public_key=keys.public) as server:
        put_signed(None)
        wait_for(lambda: server.figure("audio_gender_versions_refused_total") == 1)
        put_signed(other.private)
        wait_for(lambda: server.figure("audio_gender_versions_refused_total") == 2)
        put(changed, serving, 3_000_000_000)
        wait_for(lambda: server.figure("audio_gender_versions_refused_total") == 3)
        assert version(server) == int(first.name)
        back = roll_back(serving, int(first.name), "a", "a@b", "", keys.public)
        wait_for(lambda: version(server) == back.version)
        # One that somebody copied there is taken up when sigstore's own command line has signed it.
        put(saved_models["trained"], serving, 3_100_000_000)
        wait_for(lambda: server.figure("audio_gender_versions_refused_total") == 4)
        sign_outside(serving / "3100000000", keys.private)
        wait_for(lambda: version(server) == 3_100_000_000)


def test_without_any_version_there_is_no_server(tmp_path, serving):
    with pytest.raises(UserError, match="holds no version of a model"), running(tmp_path / "nowhere"):
        pass
    lose_weights(serving / "1")
    with pytest.raises(UserError, match=r"none of its versions \(1\) can be loaded"), running(serving):
        pass


def test_a_version_that_is_taken_away_gives_way_to_the_one_before(saved_models, serving):
    put(saved_models["trained"], serving, 2)
    with running(serving, poll_s=0.1) as server:
        assert version(server) == 2
        shutil.rmtree(serving / "2")
        wait_for(lambda: version(server) == 1)
        shutil.rmtree(serving / "1")
        time.sleep(0.5)
        assert version(server) == 1
