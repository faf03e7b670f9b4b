"""A new version on trial: it is promoted or rolled back by itself, and no client pays for a bad one."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from running_server import Running, put, running, wav

from components.pusher.provenance import Provenance
from components.pusher.serving_folder import push, read_provenance, versions
from components.pusher.trials import read_decisions
from components.pusher.withdrawn import read_withdrawn
from components.server.config import CanaryConfig

CANARY = CanaryConfig(share=0.5, requests=30)


@pytest.fixture(scope="session")
def recordings(make_voice: Callable) -> list[bytes]:
    """Sixty different recordings, so that the hash has something to choose from."""
    rng = np.random.default_rng(0)
    voices = [make_voice(index % 2, index) for index in range(4)]
    return [wav(voices[k % 4] * rng.uniform(0.3, 1), 8000) for k in range(60)]


def push_model(model: str | Path, serving: Path) -> int:
    return push(Path(model), serving, Provenance(by="gate", login="test@here", run_id="r"), keep=None).version


def wait(condition: Callable[[], bool], seconds: float = 60) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.05)


def ask_all(server: Running, recordings: list[bytes], until: Callable[[], bool]) -> list[str]:
    """Versions that answered, request by request, until something happens."""
    found = []
    for number in range(600):
        answer = server.ask("POST", "/analyse?name=a.wav", recordings[number % len(recordings)])
        assert answer.status == 200, answer.body
        found.append(answer.json["version"])
        if until():
            return found
    raise AssertionError("it did not happen")


def test_a_version_that_agrees_is_promoted_and_its_share_is_a_hash_of_the_request(
    saved_models: dict[str, str], recordings: list[bytes], tmp_path: Path
) -> None:
    old = push_model(saved_models["trained"], tmp_path)
    with running(tmp_path, poll_s=0.1, canary=CANARY) as server:
        new = push_model(saved_models["trained"], tmp_path)
        wait(lambda: server.figure("audio_gender_canary_version") == new)
        assert server.figure("audio_gender_model_version") == old
        first = [server.ask("POST", "/analyse?name=a.wav", item).json["version"] for item in recordings[:8]]
        again = [server.ask("POST", "/analyse?name=a.wav", item).json["version"] for item in recordings[:8]]
        assert first == again and set(first) == {str(old), str(new)}

        ask_all(server, recordings, lambda: server.figure("audio_gender_model_version") == new)

        assert server.figure('audio_gender_canary_decisions_total{outcome="promoted"}') == 1
        assert server.figure("audio_gender_canary_version") == 0
    decision = read_decisions(tmp_path)[-1]
    assert (decision.version, decision.outcome, decision.against) == (new, "promoted", old)
    assert decision.why.startswith(f"agrees with version {old} on ") and not read_withdrawn(tmp_path)


class Contrary(tf.Module):
    """A model that says the opposite of another."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.network = tf.saved_model.load(path)

    def save(self, folder: Path, change: Callable[[dict], dict]) -> None:
        signatures = {}
        for name, function in self.network.signatures.items():
            specs = function.structured_input_signature[1]

            def ask(function=function, **inputs):
                return change(dict(function(**inputs)))

            signatures[name] = tf.function(ask, autograph=False).get_concrete_function(**specs)
        tf.saved_model.save(self, str(folder), signatures=signatures)


def swapped(found: dict) -> dict:
    names = found["classes"][:, ::-1]
    found["probabilities"] = found["probabilities"][:, ::-1]
    if "label" in found:
        other = tf.where(found["label"] == found["classes"][:, 0], names[:, 0], names[:, 1])
        found["label"] = tf.where(found["label"] == "", "", other)
    if "step_probabilities" in found:
        found["step_probabilities"] = found["step_probabilities"][..., ::-1]
    return found


@pytest.fixture(scope="session")
def contrary(saved_models: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("contrary") / "model"
    Contrary(saved_models["trained"]).save(folder, swapped)
    return folder


def test_one_that_disagrees_is_rolled_back_and_remembered(
    saved_models: dict[str, str], contrary: Path, recordings: list[bytes], tmp_path: Path
) -> None:
    old = push_model(saved_models["trained"], tmp_path)
    with running(tmp_path, poll_s=0.1, canary=CANARY) as server:
        bad = push_model(contrary, tmp_path)
        wait(lambda: server.figure("audio_gender_canary_version") == bad)

        ask_all(server, recordings, lambda: len(versions(tmp_path)) == 3)

        back = versions(tmp_path)[-1]
        wait(lambda: server.figure("audio_gender_model_version") == back)  # without a trial: it is known
        assert server.figure('audio_gender_canary_decisions_total{outcome="rolled back"}') == 1
    stored, of_bad = read_provenance(tmp_path, back), read_provenance(tmp_path, bad)
    assert stored and of_bad
    assert (stored.action, stored.by, stored.rolled_back_to) == ("rolled back", "serve --canary", old)
    assert stored.note.startswith(f"agrees with version {old} on ")
    withdrawn = read_withdrawn(tmp_path)[of_bad.model_digest]  # no run pushes it again by itself
    assert withdrawn.by == "serve --canary" and read_decisions(tmp_path)[-1].outcome == "rolled back"


def test_a_restart_in_a_trial_goes_on_with_it(
    saved_models: dict[str, str], contrary: Path, recordings: list[bytes], tmp_path: Path
) -> None:
    old = push_model(saved_models["trained"], tmp_path)
    with running(tmp_path, poll_s=0.1, canary=CANARY) as server:
        bad = push_model(contrary, tmp_path)
        wait(lambda: server.figure("audio_gender_canary_version") == bad)

    with running(tmp_path, poll_s=0.1, canary=CANARY) as server:
        assert server.figure("audio_gender_model_version") == old and server.figure("audio_gender_canary_version") == bad
        answered = ask_all(server, recordings, lambda: len(versions(tmp_path)) == 3)
        assert set(answered) <= {str(old), str(bad)} and str(old) in answered


def test_one_that_fails_costs_no_client_an_answer(
    saved_models: dict[str, str], recordings: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(found: dict) -> dict:
        # What passes the warm-up, a sine without a voice, and fails with speech.
        if "label" in found:
            check = tf.debugging.Assert(tf.reduce_all(found["speech"] < 0.3), ["out of memory"])
            with tf.control_dependencies([check]):
                found["label"] = tf.identity(found["label"])
        return found

    broken = tmp_path / "broken"
    Contrary(saved_models["trained"]).save(broken, failing)
    serving = tmp_path / "serving"
    old = push_model(saved_models["trained"], serving)
    with running(serving, poll_s=0.1, canary=CANARY) as server:
        bad = push_model(broken, serving)
        wait(lambda: server.figure("audio_gender_canary_version") == bad)

        ask_all(server, recordings, lambda: len(versions(serving)) == 3)  # each answer is 200

    decision = read_decisions(serving)[-1]
    assert decision.outcome == "rolled back" and decision.why.startswith("3 requests failed")
    assert (decision.version, decision.against) == (bad, old)


def test_what_a_person_put_there_is_taken_up_at_once(saved_models: dict[str, str], tmp_path: Path) -> None:
    push_model(saved_models["trained"], tmp_path)
    with running(tmp_path, poll_s=0.1, canary=CANARY) as server:
        approved = Provenance(action="approved", by="ada", login="ada@here")
        new = push(Path(saved_models["trained"]), tmp_path, approved, keep=None).version
        wait(lambda: server.figure("audio_gender_model_version") == new)
        assert server.figure("audio_gender_canary_version") == 0


def test_a_version_that_is_taken_away_is_no_longer_tried(saved_models: dict[str, str], tmp_path: Path) -> None:
    old = push_model(saved_models["trained"], tmp_path)
    put(saved_models["trained"], tmp_path, old + 5)
    (tmp_path / ".canary.json").write_text(
        json.dumps([{"version": old, "outcome": "promoted", "why": "", "when": "", "against": old}])
    )
    with running(tmp_path, poll_s=0.1, canary=CANARY) as server:
        assert server.figure("audio_gender_canary_version") == old + 5
        (tmp_path / str(old + 5)).rename(tmp_path / ".gone")
        wait(lambda: server.figure("audio_gender_canary_version") == 0)
        assert server.figure("audio_gender_model_version") == old
