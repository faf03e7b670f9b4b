# SPDX-License-Identifier: Apache-2.0
"""The page in a real browser: a file and the microphone, by keyboard, wide and narrow, light and dark."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import soundfile
from chromium import Chromium, wait_for

AXE = "axe.run(document, {resultTypes: ['violations']}).then(found => found.violations.map(one => one.id))"
ENTER, TAB = ("Enter", 13), ("Tab", 9)


@pytest.fixture(scope="module")
def recording(make_voice, tmp_path_factory) -> Path:
    """Two voices, the second behind a second of silence."""
    path = tmp_path_factory.mktemp("recordings") / "two voices.flac"
    samples = np.concatenate([make_voice(1, 5), np.zeros(8000, np.float32), make_voice(0, 6)])
    soundfile.write(path, samples, 8000)
    return path


@pytest.fixture(scope="module")
def browser(recording, tmp_path_factory):
    microphone = tmp_path_factory.mktemp("microphone") / "voice.wav"
    samples, rate_hz = soundfile.read(recording)
    soundfile.write(microphone, np.repeat(samples, 48_000 // rate_hz), 48_000, subtype="PCM_16")
    found = Chromium(tmp_path_factory.mktemp("profile"), microphone)
    yield found
    found.close()


def heard(browser: Chromium, name: str) -> None:
    wait_for(lambda: browser.text("status") == f"{name}: done.")


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_file_is_shown_and_accessible(browser, served, recording, width, dark):
    answer = served.ask("POST", "/analyse?name=two.flac", recording.read_bytes()).json
    browser.show(f"http://127.0.0.1:{served.port}/", width, dark)
    browser.choose_file("file", recording)
    heard(browser, recording.name)

    shown = {"no speech": "No speech", "uncertain": "Uncertain"}.get(answer["label"], answer["label"])
    assert browser.text("label").startswith(shown)
    assert browser.run("document.querySelectorAll('#segments span').length") == len(answer["segments"])
    assert browser.run("document.querySelectorAll('#rows tr').length") == len(answer["segments"])
    assert browser.run("getComputedStyle(document.body).backgroundColor") == ("rgb(20, 22, 27)" if dark else "rgb(255, 255, 255)")
    assert browser.run("Math.max(...peaks)") > 0.05, "no waveform"
    assert browser.run(
        "player.play().then(() => new Promise(done => { player.ontimeupdate = () => done(player.duration) }))"
    ) == (pytest.approx(answer["duration_s"], abs=0.1))
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    browser.run(files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8") + "; 0")
    assert browser.run(AXE) == []


def test_the_microphone_by_keyboard_alone(browser, served):
    browser.show(f"http://127.0.0.1:{served.port}/", 390, False)
    for expected in ("file", "record"):
        browser.press(*TAB)
        assert browser.run("document.activeElement.id") == expected
    browser.press(*ENTER)
    wait_for(lambda: browser.text("clock") > "0:02.0")
    browser.press(*ENTER)
    heard(browser, "recording.wav")
    # The fake microphone plays the file from its beginning, at its own level: heard, and not altered on the way.
    wait_for(lambda: browser.run("player.duration"))  # null until the browser has looked into the file
    assert browser.run("duration") == pytest.approx(browser.run("player.duration"), abs=0.1)
    assert browser.run("duration") > 2
    assert browser.run("Math.max(...peaks)") > 0.05
    assert browser.text("label")


@pytest.mark.parametrize("label", ["no speech", "uncertain"])
def test_what_is_no_label_is_said_as_such(browser, served, label):
    browser.show(f"http://127.0.0.1:{served.port}/", 390, False)
    answer = (
        f"{{label: '{label}', probabilities: {{low: .52, high: .48}}, speech: .4, duration_s: 2, version: '1', segments: []}}"
    )
    browser.run(f"show({answer}, 'x')")
    assert browser.text("label") == label.capitalize()
    assert "%" not in browser.text("label")


def test_what_cannot_be_heard_is_one_line(browser, served, tmp_path):
    (tmp_path / "letter.txt").write_text("<img src=x onerror=alert(1)>")
    browser.show(f"http://127.0.0.1:{served.port}/", 390, False)
    browser.choose_file("file", tmp_path / "letter.txt")
    wait_for(lambda: browser.text("status").startswith("letter.txt: cannot be decoded"))
    assert not browser.run("document.getElementById('answer').checkVisibility()")


def test_it_asked_nobody_else_and_complained_of_nothing(browser, served):
    outside = [url for url in browser.asked if not url.startswith((f"http://127.0.0.1:{served.port}/", "blob:", "data:"))]
    assert outside == []
    # Chromium itself notes each answer that is an error, as the one above was meant to be.
    assert [line for line in browser.said if "400 (Bad Request)" not in line] == []
