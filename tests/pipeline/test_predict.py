# SPDX-License-Identifier: Apache-2.0
"""`audio-gender predict` as people call it: files of others, folders, pipes, a microphone; tables, files and a page."""

import csv
import io
import json
import re
import shutil
import subprocess
from importlib.resources import files

import numpy as np
import psutil
import pytest
import soundfile
from commands import COMMAND, call, call_here, environment, only_line
from test_review_page import browse
from training_inputs import voice

from beam_jobs.audio import ffmpeg_is_there
from pipeline.recordings import NotFoundError, find_recordings

MALE, FEMALE = 0, 1
needs_ffmpeg = pytest.mark.skipif(not ffmpeg_is_there(), reason="no ffmpeg on the PATH (Debian: apt install ffmpeg)")
FORMULA = "=HYPERLINK(1).wav"
ESCAPE = "\x1b[31mred.wav"


@pytest.fixture(scope="module")
def serving(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("serving")
    shutil.copytree(trained.serving_model_dir, folder / "1")
    return folder


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """A folder of recordings, with sub-folders, names from outside, and things that are no recordings."""
    root = tmp_path_factory.mktemp("recordings")
    (root / "more").mkdir()
    (root / ".hidden").mkdir()
    dialogue = np.concatenate([voice(MALE, 90, 64_000)[:48_000], np.zeros(24_000), voice(FEMALE, 91, 64_000)[:48_000]])
    soundfile.write(root / "dialogue.flac", dialogue, 8000)
    soundfile.write(root / "more" / "woman.WAV", voice(FEMALE, 5, 40_000), 8000, format="WAV")
    soundfile.write(root / "more" / FORMULA, np.zeros(8000), 8000)
    soundfile.write(root / ".hidden" / "hidden.wav", np.zeros(8000), 8000)
    (root / "broken.mp3").write_bytes(b"no sound at all")
    (root / ESCAPE).write_bytes(b"")
    (root / "notes.txt").write_text("no recording")
    return root


def messages(done):
    """What was said on stderr, beside how far it is."""
    return [line for line in done.stderr.splitlines() if not line.startswith("  listening")]


def test_a_folder_in_rows_and_what_cannot_be_read_stops_nothing(serving, recordings):
    done = call("predict", recordings, recordings / "nothing.wav", "--serving", serving, "--format", "csv")

    assert done.returncode == 2
    assert messages(done) == [
        f"{recordings}/\\x1b[31mred.wav: cannot be decoded: the file is empty",
        f"{recordings}/broken.mp3: cannot be decoded: it is a text file",
        f"{recordings}/nothing.wav: cannot be opened: No such file or directory",
    ]
    rows = {row["file"].removeprefix(f"{recordings}/"): row for row in csv.DictReader(io.StringIO(done.stdout))}
    assert list(rows) == [ESCAPE, "broken.mp3", "dialogue.flac", f"more/{FORMULA}", "more/woman.WAV", "nothing.wav"]
    assert {name: row["label"] for name, row in rows.items() if not row["error"]} == {
        "dialogue.flac": rows["dialogue.flac"]["label"],
        f"more/{FORMULA}": "no speech",
        "more/woman.WAV": "female",
    }
    assert float(rows["more/woman.WAV"]["female"]) > 0.6 and rows["broken.mp3"]["duration_s"] == "0.0"


def test_a_name_is_no_formula_in_a_spreadsheet(serving, recordings):
    done = subprocess.run(
        [*COMMAND, "predict", FORMULA, "--serving", str(serving), "--format", "csv"],
        cwd=recordings / "more", env=environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].startswith(f'"\'{FORMULA}",')


def test_tables_and_a_page(serving, recordings, tmp_path):
    page = tmp_path / "page.html"
    done = call("predict", recordings / "dialogue.flac", recordings / "more", "--serving", serving, "--timeline", "--html", page)

    assert (done.returncode, messages(done)) == (0, [f"next: open {page} in a browser"])
    assert re.search(r"0:00\.0 +0:0\d\.\d +male +[01]\.\d\d\n", done.stdout)
    assert re.search(
        r"0:\d\d\.\d +0:15\.0 +female +[01]\.\d\d\nmale 0:0\d\.\d \(\d+%\); female 0:0\d\.\d \(\d+%\); uncertain", done.stdout
    )
    assert "<!doctype html>" in page.read_text()

    table = call("predict", "--serving", serving, "--model", "1", f"{recordings}/*/wom*", recordings / "dialogue.flac")
    assert table.returncode == 0, table.stderr
    assert re.search(r"^recording +label +probability +speech +duration$", table.stdout, re.M)
    assert re.search(r"woman\.WAV +female +[01]\.\d\d +\d+% +0:05\.0$", table.stdout, re.M)


@needs_ffmpeg
def test_a_file_of_any_format_through_a_pipe(serving, recordings):
    """MP4 cannot be decoded from a pipe as it comes."""
    ffmpeg = ["ffmpeg", "-v", "error", "-i", recordings / "dialogue.flac", "-f", "mp4", "-movflags", "frag_keyframe", "-"]
    mp4 = subprocess.run(ffmpeg, capture_output=True, check=True).stdout

    done = subprocess.run(
        [*COMMAND, "predict", "-", "--serving", str(serving), "--timeline", "--format", "json"],
        input=mp4, env=environment(), capture_output=True,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    assert found["file"] == "-" and found["duration_s"] == pytest.approx(15, abs=0.3)
    assert [item["label"] for item in (found["segments"][0], found["segments"][-1])] == ["male", "female"]
    assert sum(total["seconds"] for total in found["totals"].values()) == pytest.approx(
        sum(item["end_s"] - item["start_s"] for item in found["segments"]), abs=0.01
    )


def test_praat_and_audacity_get_a_file_for_each_recording(serving, recordings, tmp_path):
    praatio = pytest.importorskip("praatio.textgrid", reason="praatio is not installed: `make setup-dev`")
    soundfile.write(tmp_path / "dialogue.wav", voice(MALE, 3, 24_000), 8000)
    both = (recordings / "dialogue.flac", tmp_path / "dialogue.wav")

    done = call("predict", *both, "--serving", serving, "--format", "textgrid", "-o", tmp_path / "grids")

    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    grids = {path.name: praatio.openTextgrid(str(path), True) for path in sorted((tmp_path / "grids").iterdir())}
    assert list(grids) == ["dialogue-2.TextGrid", "dialogue.TextGrid"]
    assert [grid.maxTimestamp for grid in grids.values()] == [3.0, 15.0]
    labels = [entry.label for entry in grids["dialogue.TextGrid"].getTier("label").entries if entry.label]
    assert labels[0] == "male" and labels[-1] == "female"

    single = call("predict", both[0], "--serving", serving, "--format", "audacity")
    assert re.fullmatch(r"(\d+\.\d{6}\t\d+\.\d{6}\t\w+ \d\.\d\d\n)+", single.stdout), single


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no recording given"),
        (["a.wav"], "run --config demo` trains one and pushes it there"),
        (["a.wav", "--model", "9"], "work/serving: no version 9; there are none"),
        (["a.wav", "b.wav", "--format", "textgrid"], "there are 2; add --output DIR"),
        (["a.wav", "--output", "somewhere"], "--output is for --format textgrid and audacity; table goes to stdout"),
        (["a.wav", "--stream"], "--stream reads stdin: `audio-gender predict - --stream`"),
        (["a.wav", "--microphone"], "--microphone takes no PATH"),
        (["-", "--stream", "--format", "csv"], "--stream writes one line of JSON per second"),
        (["-", "--stream", "--microphone"], "cannot be used together"),
    ],
)
def test_mistakes_are_one_line(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert message in only_line(call_here("predict", *arguments))


def fail(line):
    raise AssertionError(line)


def test_what_paths_mean(recordings, tmp_path):
    names = [path.removeprefix(f"{recordings}/") for path in find_recordings(str(recordings), fail)]
    assert names == [ESCAPE, "broken.mp3", "dialogue.flac", f"more/{FORMULA}", "more/woman.WAV"]
    assert list(find_recordings(f"{recordings}/**/w*.WAV", fail)) == [f"{recordings}/more/woman.WAV"]
    (tmp_path / "[1].wav").touch()
    assert list(find_recordings(f"{tmp_path}/[1].wav", fail)) == [f"{tmp_path}/[1].wav"]
    for path in (f"{recordings}/*.nothing", f"{recordings}/.hidden/.nothing*"):
        with pytest.raises(NotFoundError, match="no file matches this pattern"):
            list(find_recordings(path, fail))
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFoundError, match="no recordings in this folder"):
        list(find_recordings(str(tmp_path / "empty"), fail))


def pcm16(samples):
    return np.rint(samples * 32767).astype("<i2").tobytes()


def test_a_stream_is_answered_second_by_second_before_the_next_one_comes(serving):
    """Each line must be there before one more sample is: it waits for nothing but its own second."""
    seconds = np.split(np.concatenate([voice(MALE, 90, 48_000)[:32_000], np.zeros(24_000)]), 7)
    process = subprocess.Popen(
        [*COMMAND, "predict", "-", "--stream", "--rate", "8000", "--serving", str(serving)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(),
    )  # fmt: skip
    found = []
    for second in seconds:
        process.stdin.write(pcm16(second))
        process.stdin.flush()
        found.append(json.loads(process.stdout.readline()))
    process.stdin.close()

    assert process.stdout.read() == b"" and process.wait() == 0
    assert [(line["start_s"], line["end_s"]) for line in found] == [(second, second + 1) for second in range(7)]
    assert [line["label"] for line in found] == ["male"] * 4 + ["no speech"] * 3
    assert list(found[0]) == ["start_s", "end_s", "label", "probabilities", "speech"]


@needs_ffmpeg
def test_a_stream_may_be_wav_and_one_that_is_empty_or_unreadable_says_so(serving, recordings):
    def stream(content):
        command = [*COMMAND, "predict", "-", "--stream", "--serving", str(serving)]
        return subprocess.run(command, input=content, env=environment(), capture_output=True)

    ffmpeg = ["ffmpeg", "-v", "error", "-i", recordings / "dialogue.flac", "-ac", "2", "-ar", "22050", "-f", "wav", "-"]
    done = stream(subprocess.run(ffmpeg, capture_output=True, check=True).stdout)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and len(lines) == 15, done.stderr
    assert (lines[3]["label"], lines[7]["label"], lines[13]["label"]) == ("male", "no speech", "female")

    for content, message in ((b"", b"error: -: holds no samples\n"), (b"RIFF\0\0\0\0WAVE", b"does not say its format\n")):
        done = stream(content)
        assert (done.returncode, done.stdout) == (2, b"") and done.stderr.endswith(message), done


def test_a_machine_without_a_microphone_says_so_in_a_line(serving, tmp_path):
    """Once without arecord, once with a real one and a device that is not there."""
    done = call("predict", "--microphone", "--serving", serving, PATH="/nowhere")
    assert "needs arecord, which is not installed" in only_line(done)
    if shutil.which("arecord"):
        (tmp_path / ".asoundrc").write_text("pcm.!default { type hw card 77 }\n")
        done = call("predict", "--microphone", "--serving", serving, HOME=str(tmp_path))
        assert only_line(done).startswith("no microphone: arecord: ")


@pytest.mark.skipif(not shutil.which("arecord"), reason="no arecord on the PATH (Debian: apt install alsa-utils)")
def test_a_microphone_is_heard(serving, tmp_path):
    """ALSA's own stand-in for a device, which plays a file to whoever records."""
    (tmp_path / "heard.raw").write_bytes(pcm16(np.tile(voice(FEMALE, 4, 48_000)[:32_000], 20)))
    (tmp_path / ".asoundrc").write_text(
        f'pcm.!default {{ type file slave.pcm "null" file /dev/null infile "{tmp_path}/heard.raw" format raw }}\n'
    )
    process = subprocess.Popen(
        [*COMMAND, "predict", "--microphone", "--serving", str(serving)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(HOME=str(tmp_path)), text=True,
    )  # fmt: skip
    lines = [json.loads(process.stdout.readline()) for _ in range(3)]
    (recorder,) = psutil.Process(process.pid).children()
    process.send_signal(2)

    assert process.communicate()[1].splitlines()[-1] == "stopped by Ctrl-C (SIGINT)" and process.returncode == 130
    assert [line["label"] for line in lines] == ["female"] * 3
    with pytest.raises(psutil.NoSuchProcess):
        recorder.status()


PROBE = """
<script>
(async () => {
  const player = document.querySelector("audio"), picture = document.querySelector(".picture"), data = document.body.dataset;
  const known = item => new Promise(done => { item.onloadedmetadata = () => done(item.duration.toFixed(1)); item.load(); });
  data.overflow = document.documentElement.scrollWidth > window.innerWidth;
  data.dark = matchMedia("(prefers-color-scheme: dark)").matches;
  data.durations = (await Promise.all([...document.querySelectorAll("audio")].map(known))).join(" ");
  for (const item of document.querySelectorAll("details")) item.open = true;
  player.muted = true;
  const box = picture.getBoundingClientRect();
  picture.dispatchEvent(new MouseEvent("click", {clientX: box.left + box.width * 0.8, clientY: box.top + 9, bubbles: true}));
  data.sought = player.currentTime.toFixed(1);
  [...document.querySelectorAll("[data-start]")].at(0).click();
  data.first = player.currentTime.toFixed(1);
  player.pause();
  player.dispatchEvent(new Event("timeupdate"));
  data.cursor = document.querySelector(".cursor").hidden;
  const found = await axe.run(document, {resultTypes: ["violations"]});
  data.checked = found.passes.length;
  data.violations = JSON.stringify(found.violations.map(item => [item.id, item.nodes.map(node => node.target.join(" "))]));
})();
</script>
"""


@pytest.fixture(scope="module")
def page(serving, recordings):
    from components.inference import load_model
    from components.inference.page import Recording, timelines_page

    model = load_model(serving)
    names = ["dialogue.flac", "more/woman.WAV", "broken.mp3"]
    heard = [Recording(f"<b>{name}</b>", str(recordings / name), model.timeline(recordings / name)) for name in names]
    return timelines_page(heard, model)


def test_the_page_needs_nothing_from_elsewhere_and_believes_no_name(page):
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", page) and "url(" not in page
    assert "<b>" not in page and "&lt;b&gt;dialogue.flac" in page
    assert "cannot be decoded: it is a text file" in page


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_browser_shows_the_page_plays_it_and_finds_it_accessible(page, tmp_path, width, dark):
    axe = files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    path = tmp_path / "page.html"
    path.write_text(page.replace("</body>", f"<script>{axe}</script>{PROBE}</body>"), encoding="utf-8")

    dom, console = browse(path, tmp_path / "profile", width, dark)

    def probed(name):
        return re.search(rf'data-{name}="([^"]*)"', dom)[1]

    assert console == []
    assert (probed("overflow"), probed("dark"), probed("cursor")) == ("false", str(dark).lower(), "false")
    assert [float(item) for item in probed("durations").split()] == pytest.approx([15.0, 5.0], abs=0.1)
    assert float(probed("sought")) == pytest.approx(12, abs=0.2) and float(probed("first")) < 1
    assert int(probed("checked")) > 10 and probed("violations") == "[]"
