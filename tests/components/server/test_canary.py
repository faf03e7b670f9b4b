# SPDX-License-Identifier: Apache-2.0
"""A new version on trial: it is promoted or rolled back by itself, and no client pays for a bad one."""

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf
from running_server import Running, put, running

from components.pusher.provenance import Provenance
from components.pusher.serving_folder import push, read_provenance, versions
from components.pusher.trials import read_decisions
from components.pusher.withdrawn import read_withdrawn
from components.server.config import CanaryConfig

CANARY = CanaryConfig(share=0.5, requests=60)
FILES = [base64.b64encode(f"recording {number}".encode()).decode() for number in range(200)]
"""What the small models below take for recordings: they only look at the bytes' hash."""


class Small(tf.Module):
    """A SavedModel with the signatures that a server asks, whose answer is a hash of what it is given."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def answer(self, first: tf.Tensor) -> dict[str, tf.Tensor]:
        size = tf.size(first)
        if self.kind == "contrary":
            first = 1 - first
        if self.kind == "lopsided":  # an eighth of the first class becomes the second
            first = tf.where((first > 0.5) & (first < 0.75), 0.4, first)
        if self.kind == "NaN":
            first = tf.where(first < 0.2, float("nan"), first)
        probabilities = tf.stack([first, 1 - first], axis=1)
        return {
            "probabilities": probabilities,
            "classes": tf.repeat(tf.constant([["a", "b"]]), size, axis=0),
            "thresholds": tf.fill([size, 2], 0.5),
            "label": tf.gather(tf.constant(["a", "b"]), tf.argmax(probabilities, axis=1)),
            "speech": tf.ones([size]),
            "duration_s": tf.fill([size], 0.25),
            "error": tf.fill([size], ""),
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "wav")], autograph=False)
    def wav(self, wav: tf.Tensor) -> dict[str, tf.Tensor]:
        first = tf.cast(tf.strings.to_hash_bucket_fast(wav, 1000), tf.float32) / 1000
        if self.kind == "failing":  # on what a client sends, and not on what warms it up
            with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(tf.strings.length(wav) > 1000), ["out of memory"])]):
                first = tf.identity(first)
        if self.kind == "slow":
            matrix = tf.fill([500, 500], tf.reduce_mean(first) / 500)  # of the input, or it would be computed once
            for _ in range(40):
                matrix = matrix @ matrix
            first += tf.reduce_max(matrix) * 1e-9
        return self.answer(first)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")], autograph=False)
    def serving_default(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return self.answer(tf.fill([tf.size(examples)], 0.3))

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, "waveform")], autograph=False)
    def waveform(self, waveform: tf.Tensor) -> dict[str, tf.Tensor]:
        return self.answer(tf.fill([tf.shape(waveform)[0]], 0.3))

    @tf.function(
        input_signature=[tf.TensorSpec([None, None], tf.float32, "waveform"), tf.TensorSpec([None], tf.int64, "lengths")],
        autograph=False,
    )
    def waveforms(self, waveform: tf.Tensor, lengths: tf.Tensor) -> dict[str, tf.Tensor]:
        return self.answer(tf.fill([tf.size(lengths)], 0.3))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def make(kind: str = "good") -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind) / "model"
            small = Small(kind)
            names = ("wav", "serving_default", "waveform", "waveforms")
            tf.saved_model.save(
                small, str(made[kind]), signatures={name: getattr(small, name).get_concrete_function() for name in names}
            )
        return made[kind]

    return make


def push_model(folder: Path, serving: Path, **known: object) -> int:
    provenance = Provenance.model_validate({"by": "gate", "login": "test@here", "run_id": "r", **known})
    return push(folder, serving, provenance, keep=None).version


def wait(condition: Callable[[], bool], seconds: float = 120) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.05)


def ask(server: Running, file: str) -> str:
    """The version that answered."""
    wav = {"name": "wav", "shape": [1], "datatype": "BYTES", "parameters": {"content_type": "base64"}, "data": [file]}
    answer = server.ask("POST", "/v2/models/audio-gender/infer", {"inputs": [wav]})
    assert answer.status == 200, answer.body
    return str(answer.json["model_version"])


def ask_until(server: Running, ended: Callable[[], bool]) -> list[str]:
    """Asks different questions until something happens; the versions that answered."""
    found = []
    for number in range(5000):
        found.append(ask(server, FILES[number % len(FILES)]))
        if number % 10 == 0 and ended():
            return found
    raise AssertionError("it did not happen")


def on_trial(server: Running) -> float:
    return server.figure("audio_gender_canary_version")


def test_a_version_that_agrees_is_promoted_and_its_share_is_a_hash_of_the_request(
    model: Callable[..., Path], tmp_path: Path
) -> None:
    old = push_model(model(), tmp_path)
    with running(tmp_path, poll_s=0.1, canary=CANARY) as server:
        new = push_model(model(), tmp_path)
        wait(lambda: on_trial(server) == new)
        assert server.figure("audio_gender_model_version") == old
        first = [ask(server, file) for file in FILES[:16]]
        assert [ask(server, file) for file in FILES[:16]] == first and set(first) == {str(old), str(new)}

        ask_until(server, lambda: server.figure("audio_gender_model_version") == new)

        assert server.figure('audio_gender_canary_decisions_total{outcome="promoted"}') == 1
        assert on_trial(server) == 0
    decision = read_decisions(tmp_path)[-1]
    assert (decision.version, decision.outcome, decision.against) == (new, "promoted", old)
    assert (
        decision.requests >= 60
        and decision.why == f"agrees with version {old} on {decision.requests} of {decision.requests} requests"
    )
    assert versions(tmp_path) == [old, new] and not read_withdrawn(tmp_path)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("contrary", "agrees with version {old} on 0 of "),
        ("lopsided", "agrees with version {old} on "),
        ("failing", "3 requests failed ("),
        ("NaN", "3 requests failed (answers with NaN or infinity)"),
        ("slow", "answers in "),
    ],
)
def test_a_bad_one_is_rolled_back_remembered_and_costs_no_client_an_answer(
    model: Callable[..., Path], tmp_path: Path, kind: str, why: str
) -> None:
    old = push_model(model(), tmp_path)
    with running(tmp_path, poll_s=0.1, canary=CANARY) as server:
        bad = push_model(model(kind), tmp_path)
        wait(lambda: on_trial(server) == bad)

        ask_until(server, lambda: len(versions(tmp_path)) == 3)  # every answer is 200

        back = versions(tmp_path)[-1]
        wait(lambda: server.figure("audio_gender_model_version") == back)  # at once: the model is known
        assert server.figure('audio_gender_canary_decisions_total{outcome="rolled back"}') == 1
        assert set(ask_until(server, lambda: True)) == {str(back)}
    stored, of_bad = read_provenance(tmp_path, back), read_provenance(tmp_path, bad)
    assert stored and of_bad
    assert (stored.action, stored.by, stored.rolled_back_to) == ("rolled back", "serve --canary", old)
    assert stored.note.startswith(why.format(old=old))
    withdrawn = read_withdrawn(tmp_path)[of_bad.model_digest]  # so no run pushes it again by itself
    assert withdrawn.by == "serve --canary" and withdrawn.note == stored.note == read_decisions(tmp_path)[-1].why


def test_a_restart_in_the_middle_goes_on_with_the_trial(model: Callable[..., Path], tmp_path: Path) -> None:
    old = push_model(model(), tmp_path)
    with running(tmp_path, poll_s=0.1, canary=CANARY) as server:
        bad = push_model(model("contrary"), tmp_path)
        wait(lambda: on_trial(server) == bad)

    with running(tmp_path, poll_s=0.1, canary=CANARY) as server:
        assert server.figure("audio_gender_model_version") == old and on_trial(server) == bad
        assert str(old) in ask_until(server, lambda: len(versions(tmp_path)) == 3)


def test_what_a_person_put_there_is_taken_up_at_once(model: Callable[..., Path], tmp_path: Path) -> None:
    push_model(model(), tmp_path)
    with running(tmp_path, poll_s=0.1, canary=CANARY) as server:
        new = push_model(model("contrary"), tmp_path, action="approved", by="ada")
        wait(lambda: server.figure("audio_gender_model_version") == new)
        assert on_trial(server) == 0


def test_a_version_that_is_taken_away_is_no_longer_tried(model: Callable[..., Path], tmp_path: Path) -> None:
    put(model(), tmp_path, 5)
    put(model(), tmp_path, 6)
    decision = {"version": 5, "outcome": "promoted", "why": "", "when": "", "against": 5}
    (tmp_path / ".canary.json").write_text(json.dumps([decision]))
    with running(tmp_path, poll_s=0.1, canary=CANARY) as server:
        assert on_trial(server) == 6
        (tmp_path / "6").rename(tmp_path / ".gone")
        wait(lambda: on_trial(server) == 0)
        assert server.figure("audio_gender_model_version") == 5 and ask(server, FILES[0]) == "5"


def test_a_folder_that_cannot_be_written_still_loses_no_request(
    model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = push_model(model(), tmp_path)
    with running(tmp_path, poll_s=0.1, canary=CANARY) as server:
        bad = push_model(model("contrary"), tmp_path)
        wait(lambda: on_trial(server) == bad)
        # A folder in the way of what is written: root may write anywhere.
        for name in (".canary.json", ".withdrawn.json"):
            (tmp_path / name).unlink(missing_ok=True)
            (tmp_path / name / "in the way").mkdir(parents=True)

        ask_until(server, lambda: on_trial(server) == 0)
        time.sleep(0.5)

        assert server.figure("audio_gender_model_version") == old and versions(tmp_path) == [old, bad]
        assert set(ask_until(server, lambda: True)) == {str(old)}
