# SPDX-License-Identifier: Apache-2.0
"""At least 10,000 requests of eight clients, while versions come and go and the server is killed: no wrong answer, none lost."""

import base64
import http.client
import json
import shutil
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from processes import free_port

from components.pusher.provenance import Provenance
from components.pusher.serving_folder import push, roll_back

REQUESTS, CLIENTS = 10_000, 8
BY = Provenance(by="test", login="test@here")


def other_weights(model: Path, copy: Path) -> Path:
    """The same network with other weights, so that it answers otherwise."""
    import tensorflow as tf

    shutil.copytree(model, copy)
    prefix = str(copy / "variables/variables")
    reader = tf.train.load_checkpoint(prefix)
    names = sorted(reader.get_variable_to_shape_map())
    values = [reader.get_tensor(name) for name in names]
    changed = [value * 0.8 if isinstance(value, np.ndarray) and value.dtype == np.float32 else value for value in values]
    tf.raw_ops.SaveV2(prefix=prefix, tensor_names=names, shape_and_slices=[""] * len(names), tensors=changed)
    return copy


def answers_of(model: Path, contents: list[bytes]) -> list[list[float]]:
    import tensorflow as tf

    signature = tf.saved_model.load(str(model)).signatures["wav"]
    return [signature(wav=tf.constant([content]))["probabilities"].numpy()[0].tolist() for content in contents]


@dataclass
class Load:
    """Clients that ask until `finish`, and at least `REQUESTS`; a request that fails because nobody answers is asked again."""

    port: int
    contents: list[bytes]
    answered: list[tuple[int, str, list[float]]] = field(default_factory=list)
    retried: Counter = field(default_factory=Counter)
    taken: int = 0
    finished: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        self.threads = [threading.Thread(target=self._client) for _ in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def finish(self) -> None:
        self.finished = True
        for thread in self.threads:
            thread.join()

    def wait_for(self, version: int) -> None:
        """Until that version answers, and then some more."""
        while Counter(one for _, one, _ in self.answered[-2000:])[str(version)] < 500:
            assert all(thread.is_alive() for thread in self.threads)
            time.sleep(0.2)

    def _client(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while True:
            with self.lock:
                number, self.taken = self.taken, self.taken + 1
            if self.finished and number >= REQUESTS:
                return
            which = number % len(self.contents)
            data = [base64.b64encode(self.contents[which]).decode()]
            tensor = {"name": "wav", "shape": [1], "datatype": "BYTES", "parameters": {"content_type": "base64"}, "data": data}
            body = json.dumps({"id": str(number), "inputs": [tensor], "outputs": [{"name": "probabilities"}]})
            while True:
                try:
                    connection.request("POST", "/v2/models/audio-gender/infer", body)
                    reply = connection.getresponse()
                    answer = json.loads(reply.read())
                except (OSError, http.client.HTTPException) as error:
                    connection.close()
                    self.retried[type(error).__name__] += 1
                    time.sleep(0.1)
                    continue
                assert reply.status == 200, answer
                assert answer["id"] == str(number)
                self.answered.append((which, answer["model_version"], answer["outputs"][0]["data"]))
                break


@pytest.fixture(scope="module")
def models(trained, tmp_path_factory) -> tuple[Path, Path]:
    one = Path(trained.serving_model_dir)
    return one, other_weights(one, tmp_path_factory.mktemp("models") / "other")


def test_versions_and_a_kill_under_load(models, recordings, serve, processes, tmp_path, capsys):
    contents = [path.read_bytes() for path in sorted(recordings.glob("*.wav"))]
    expected = [answers_of(model, contents) for model in models]
    assert np.abs(np.array(expected[0]) - np.array(expected[1])).max() > 1e-3, "both models answer alike"
    serving, port = tmp_path / "serving", free_port()
    first = push(models[0], serving, BY, keep=None).version
    by_version = {str(first): expected[0]}
    serve(serving, port)

    def push_other() -> int:
        return push(models[1], serving, BY, keep=None).version

    def go_back() -> int:
        return roll_back(serving, None, "test", "test@here", "").version

    load, started = Load(port, contents), time.monotonic()
    load.start()

    load.wait_for(first)
    for push_next, model in ((push_other, 1), (go_back, 0)):
        version = push_next()
        by_version[str(version)] = expected[model]
        load.wait_for(version)
    assert load.retried == {}, "a request was lost while versions came and went"
    processes.kill("serve")
    version = push_other()
    by_version[str(version)] = expected[1]
    serve(serving, port)
    load.wait_for(version)
    load.finish()

    seconds = time.monotonic() - started
    wrong = [
        (which, version)
        for which, version, found in load.answered
        if not np.allclose(found, by_version[version][which], atol=1e-5, rtol=0)
    ]
    versions = Counter(version for _, version, _ in load.answered)
    with capsys.disabled():
        print(f"\n{len(load.answered)} answers in {seconds:.0f} s; by version {dict(versions)}; retried {dict(load.retried)}")
    assert len(load.answered) == load.taken - CLIENTS >= REQUESTS
    assert wrong == []
    assert set(versions) == set(by_version)
    assert sum(load.retried.values()) > 0
