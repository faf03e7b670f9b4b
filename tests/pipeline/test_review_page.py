# SPDX-License-Identifier: Apache-2.0
"""`audio-gender review` on a work folder with three runs, and its page in a real browser."""

import datetime
import html
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import pytest
from chromium import Chromium
from clip_datasets import reference_to
from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd
from review_artifacts import LENIENT, decided, degraded, write_evaluation, write_gate_result, write_history, write_serving_check

from beam_jobs.clip_store import write_reference
from beam_jobs.config import NumClips
from beam_jobs.errors import UserError
from beam_jobs.generate_clips import generate_clips
from components.clip_example_gen.artifact import Clips
from components.evaluator.predictions import read_predictions
from components.gate.result import GateResult, metric_name, read_gate_result
from pipeline.lineage import RUN_CONTEXT
from pipeline.outcome import NodeTime
from pipeline.result import CONFIG_FILE, ReviewDecision, RunResult, folders, read_results, write_result
from pipeline.review import review
from pipeline.review_inputs import inputs_of
from pipeline.workdir import WorkDir

CLASSES = ["male", "female"]
WAITING_FOR = "this model was rejected by Bob on 2026-01-01: too loud; ask Ada, and push.mode is review"
PROBE = """
<script>
const players = [...document.querySelectorAll("audio")];
const known = player => new Promise(done => {
  const answer = () => done(player.error ? "error" : player.duration.toFixed(1));
  if (player.readyState || player.error) answer();
  else { player.onloadedmetadata = answer; player.onerror = answer; player.load(); }
});
const plays = player => { player.muted = true; return player.play().then(() => !player.paused, error => error.name); };
const sortable = [...document.querySelectorAll("table.sortable")];
const sorted = sortable.flatMap(table => [...table.tHead.rows[0].cells].slice(1).map((head, k) => {
  head.querySelector("button").click();
  const values = [...table.tBodies[0].rows].map(row => row.cells[k + 1].dataset.value);
  const found = values.filter(value => value !== "").map(value => isNaN(value) ? value : Number(value));
  const last = values.slice(found.length).every(value => value === "");
  return last && head.getAttribute("aria-sort") === "ascending" && found.every((value, n) => !n || found[n - 1] <= value);
}));
document.body.dataset.sorted = sorted.join(" ");
document.body.dataset.overflow = document.documentElement.scrollWidth > window.innerWidth;
document.body.dataset.dark = matchMedia("(prefers-color-scheme: dark)").matches;
document.body.dataset.page = getComputedStyle(document.body).backgroundColor;
document.body.dataset.unreachable = [...document.querySelectorAll(".scroll")].filter(box =>
  box.scrollWidth > box.clientWidth && box.tabIndex !== 0).length;
(async () => {
  document.body.dataset.durations = (await Promise.all(players.map(known))).join(" ");
  document.body.dataset.plays = (await Promise.all(players.map(plays))).join(" ");
  for (const item of document.querySelectorAll("details")) item.open = true;
  const found = await axe.run(document, {resultTypes: ["violations"]});
  document.body.dataset.checked = found.passes.length;
  document.body.dataset.violations = JSON.stringify(found.violations
    .map(item => [item.id, item.nodes.map(node => node.target.join(" ")).slice(0, 3)]));
})();
</script>
"""


@dataclass(frozen=True)
class Runs:
    """Finished runs: one pushed, one better and on the same clips, one that waits, and one on other clips, refused."""

    workdir: WorkDir
    page: Path
    said: str


def record(workdir: WorkDir, run_id: str, uris: dict[str, Path], push: dict[str, str]) -> None:
    """Writes a run into the metadata store as TFX does: one context, one artifact of each type."""
    store = MetadataStore(workdir.connection())
    context = mlmd.Context(type_id=store.put_context_type(mlmd.ContextType(name=RUN_CONTEXT)), name=run_id)
    artifacts = []
    for type_name, uri in uris.items():
        type_id = store.put_artifact_type(mlmd.ArtifactType(name=type_name))
        artifact = mlmd.Artifact(type_id=type_id, uri=str(uri))
        if type_name == "PushedModel":
            for key, value in push.items():
                artifact.custom_properties[key].string_value = value
        artifacts.append(artifact)
    ids = store.put_artifacts(artifacts)
    (context_id,) = store.put_contexts([context])
    store.put_attributions_and_associations([mlmd.Attribution(artifact_id=k, context_id=context_id) for k in ids], [])


def make_run(
    workdir: WorkDir,
    run_id: str,
    dataset: Path,
    wrong: int,
    baseline: tuple[str, int] | None,
    settings: dict,
    waiting: bool = False,
) -> GateResult:
    folder = workdir.tfx / run_id
    predictions = write_evaluation(folder / "evaluation", dataset, wrong, baseline[1] if baseline else None, seed=len(run_id))
    scores = degraded(predictions, len(CLASSES), baseline is not None) if baseline else None
    result = decided(predictions, CLASSES, baseline[0] if baseline else None, scores, **settings)
    write_gate_result(folder / "blessing", result)
    write_history(folder / "model_run")
    write_serving_check(folder / "check", beside=baseline is not None)
    (folder / "clips").mkdir()
    write_reference(reference_to(dataset), str(folder / "clips"))
    uris = {
        "ModelEvaluation": folder / "evaluation",
        "ModelBlessing": folder / "blessing",
        Clips.TYPE_NAME: folder / "clips",
        "ModelRun": folder / "model_run",
        "InfraBlessing": folder / "check",
        "PushedModel": folder / "pushed",
    }
    record(workdir, run_id, uris, {"pushed_by": "Ada", "code_revision": "git:abc", "tfx_version": "1.21.0"})
    (workdir.reports / run_id).mkdir(parents=True)
    (workdir.reports / run_id / CONFIG_FILE).write_text(f"train:\n  epochs: {wrong}\n  seed: 0\n")
    version = f"{wrong}" if result.blessed and not waiting else None
    reason = f"waits for approval ({WAITING_FOR}); accuracy" if waiting else "; ".join(result.reasons) or "all thresholds hold"
    write_result(
        workdir,
        RunResult(
            run_id=run_id,
            verdict="waiting" if waiting else "pushed" if result.blessed else "refused",
            reason=reason,
            waiting_for=WAITING_FOR if waiting else "",
            metrics={},
            classes=CLASSES,
            serving_version=version,
            baseline_version=baseline[0] if baseline else None,
            inputs_digest="",
            folders=folders(workdir, run_id, "corpus", str(dataset)),
            nodes=[NodeTime(node="Trainer", seconds=12.3, cached=False)],
            seconds=20.0,
        ),
    )
    return result


@pytest.fixture(scope="module")
def runs(tmp_path_factory, index, make_config, capfd_session) -> Runs:
    root = tmp_path_factory.mktemp("reviewed")
    workdir = WorkDir(root / "work")
    workdir.root.mkdir()
    for name, seed in (("same", 1), ("other", 2)):
        config = make_config(seed=seed, mixed_share=0.0, num_clips=NumClips(train=4, eval=2, test=30))
        generate_clips(config, index, str(root / name))
    make_run(workdir, "20260101-000001", root / "same", 6, None, LENIENT | {"min_slice_clips": 1})
    make_run(workdir, "20260102-000001", root / "same", 3, ("6", 6), LENIENT)
    (workdir.serving / "3").mkdir(parents=True)
    make_run(workdir, "20260102-000002", root / "same", 4, ("3", 3), LENIENT, waiting=True)
    make_run(workdir, "20260103-000001", root / "other", 9, ("3", 4), {})
    return Runs(workdir, *capfd_session(lambda: review(workdir)))


@pytest.fixture(scope="module")
def capfd_session():
    """Runs a function and returns what it returned, and the result and the messages that it printed meanwhile."""
    from beam_jobs.console import console, results

    def run(function):
        with results.capture() as result, console.capture() as messages:
            returned = function()
        return returned, result.get() + messages.get()

    return run


def page_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_the_newest_run_is_reviewed_and_the_terminal_says_why(runs):
    text = page_of(runs.page)
    assert runs.page == runs.workdir.reports / "20260103-000001" / "review.html"
    assert "<title>Refused: Run 20260103-000001</title>" in text
    # The worst first, then what was found whatever was asked for.
    gate = read_gate_result(str(runs.workdir.tfx / "20260103-000001/blessing"))
    on_all = [check for check in gate.checks if check.slice == "all" and not check.ok and check.margin is not None]
    worst = min(on_all, key=lambda check: check.margin)
    first = re.escape(f"{metric_name(worst)} on all is {worst.value:.4f}, below {worst.threshold:g} (and ")
    assert re.search(rf"Refused +{first}\d+ more like it, .*; accuracy 0\.700 \[", runs.said)
    assert re.search(r"accuracy\W+0\.700 \S+\W+0\.867", runs.said)
    assert "fails: accuracy on all: 0.7000, at least 0.95 is required" in runs.said
    assert f"report: {runs.page}" in runs.said and f"next: open {runs.page}" in runs.said


def test_lineage_tells_who_pushed_and_what_differs_from_the_run_in_serving(runs):
    text = page_of(runs.page)
    for wanted in (
        '<dt>pushed by</dt><dd class="wrap">Ada</dd>',
        "git:abc",
        'run of the serving model</dt><dd class="wrap">20260102-000001',
    ):
        assert wanted in text
    assert "tfx version" not in text
    assert re.search(
        r'<th scope="row" class="key">train.epochs</th><td class="left wrap">9</td><td class="left wrap">3</td>', text
    )
    assert "Trainer</th><td>12.3</td>" in text


def test_the_terminal_says_where_degraded_clips_are_worst_and_what_could_not_be_measured(runs):
    assert "degraded: accuracy on 30 clips is 1.000 clean, at worst 0.633 (far 3); 3 not measured" in runs.said


def test_beside_another_run_stand_its_degraded_clips_and_not_those_of_the_serving_model(runs, capfd_session):
    def accuracies(path: Path) -> list[str]:
        text = page_of(path)
        row = text[text.index('<th scope="row" data-value="2">telephone 1') :].split("</tr>")[0]
        return re.findall(r"(?<=<span>)\d\.\d{3}|(?<=<span class=\"pair\"><span>)\d\.\d{3}", row)

    alone, _ = capfd_session(lambda: review(runs.workdir, "20260102-000001"))
    beside, _ = capfd_session(lambda: review(runs.workdir, "20260102-000001", against="20260103-000001"))
    without, _ = capfd_session(lambda: review(runs.workdir, "20260102-000001", against="20260101-000001"))

    assert accuracies(alone) == ["0.967", "0.933"]  # the second is the serving model's
    assert accuracies(beside) == ["0.967", "0.967"]
    assert accuracies(without) == ["0.967"]  # that run measured none


def test_two_runs_on_the_same_clips_are_paired(runs, capfd_session):
    path, said = capfd_session(lambda: review(runs.workdir, "20260102-000001", against="20260101-000001"))
    text = page_of(path)
    assert path.name == "review-against-20260101-000001.html"

    assert "<h1>Run 20260102-000001 beside run 20260101-000001</h1>" in text
    assert "difference</th>" in text and 'class="warning"' not in text
    found = re.search(r"accuracy is (better than|worse than|not clearly different from) run 20260101-000001 \(\+0\.100", text)
    assert found and found[1] in said


def test_what_both_models_take_stands_beside_each_other_only_where_it_was_measured_in_one_process(runs, capfd_session):
    def costs(path: Path) -> str:
        text = page_of(path)
        section = text[text.index('id="cost"') : text.index('id="lineage"')]
        return " ".join(re.sub(r"<[^>]+>", " ", section).split())

    alone, _ = capfd_session(lambda: review(runs.workdir, "20260102-000001"))
    beside, _ = capfd_session(lambda: review(runs.workdir, "20260102-000001", against="20260101-000001"))

    assert "serving model ratio SavedModel 2.00 MB 4.00 MB 0.50 parameters 12,345 24,690 0.50" in costs(alone)
    assert "SavedModel 2.00 MB parameters 12,345 CPU" in costs(beside) and "ratio" not in costs(beside)


def test_two_runs_on_other_clips_stand_side_by_side_with_a_warning(runs, capfd_session):
    path, said = capfd_session(lambda: review(runs.workdir, "20260103-000001", against="20260101-000001"))
    text = page_of(path)
    assert 'class="warning">The two runs were tested on different clips (30 and 30)' in text and "different clips" in said
    assert "difference</th>" not in text and "0.800" in text


def test_the_same_clip_numbers_of_another_dataset_are_not_the_same_clips(runs):
    ids = [read_predictions(str(runs.workdir.tfx / run / "evaluation")).ids for run in ("20260101-000001", "20260103-000001")]
    assert ids[0] == ids[1]  # which is why the test above needs the checksums of the shards


@pytest.mark.parametrize("arguments", [("20260109-000001",), ("20260101-000001", "20260109-000001")])
def test_a_run_that_is_not_there(runs, arguments):
    with pytest.raises(UserError, match="no finished run 20260109-000001"):
        review(runs.workdir, *arguments)


def test_a_run_without_an_evaluation_and_a_folder_without_runs(runs, tmp_path):
    with pytest.raises(UserError, match="no finished run to review"):
        review(WorkDir(tmp_path))
    other = WorkDir(tmp_path / "work")
    shutil.copytree(runs.workdir.reports / "20260101-000001", other.reports / "20260101-000001")
    record(other, "20260101-000001", {"Model": tmp_path}, {})
    with pytest.raises(UserError, match="run 20260101-000001 has no ModelEvaluation"):
        review(other)


def test_the_command(audio_gender, runs, tmp_path):
    done = audio_gender(
        "review", "20260101-000001", "--workdir", runs.workdir.root, "--html", tmp_path / "page.html", "--no-open"
    )
    assert done.returncode == 0, done.stderr
    assert "Pushed" in done.stdout and (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    refused = audio_gender("review", "--workdir", runs.workdir.root, "--html", tmp_path / "page.html" / "no.html")
    assert refused.returncode == 2 and "--html" in refused.stderr and "Traceback" not in refused.stderr


def browse(page: Path, profile: Path, width: int, dark: bool) -> tuple[str, list[str]]:
    """The page's DOM after its scripts, and what it said on the console."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("no Chromium on the PATH (Debian: apt install chromium)")
    command = [
        chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
        "--disable-background-networking", "--disable-component-update", "--autoplay-policy=no-user-gesture-required",
        "--enable-logging=stderr", f"--blink-settings=preferredColorScheme={0 if dark else 1}", f"--user-data-dir={profile}",
        f"--window-size={width},1200", "--virtual-time-budget=30000", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_browser_shows_it_plays_it_and_finds_it_accessible(runs, tmp_path, width, dark):
    axe = files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    page = tmp_path / "page.html"
    page.write_text(page_of(runs.page).replace("</body>", f"<script>{axe}</script>{PROBE}</body>"), encoding="utf-8")

    dom, console = browse(page, tmp_path / "profile", width, dark)

    def probed(name: str) -> str:
        return re.search(rf'data-{name}="([^"]*)"', dom)[1]

    assert console == []
    assert probed("dark") == str(dark).lower()
    assert probed("page") == ("rgb(20, 22, 27)" if dark else "rgb(255, 255, 255)")
    assert probed("overflow") == "false" and probed("unreachable") == "0"
    assert set(probed("sorted").split()) == {"true"} and len(probed("sorted").split()) == 6 + 6 + 8
    durations = [float(length) for length in probed("durations").split()]
    assert durations == pytest.approx([3.0] * 9, abs=0.1)
    assert probed("plays").split() == ["true"] * 9
    assert int(probed("checked")) > 10 and probed("violations") == "[]"


VERDICTS = {
    "pushed": ("20260101-000001", "Pushed", "good"),
    "undecided": ("20260102-000001", "Pushed", "open"),
    "waiting": ("20260102-000002", "Waits for a decision", "open"),
    "refused": ("20260103-000001", "Refused", "bad"),
}
AXE = "axe.run(document, {resultTypes: ['violations']}).then(found => found.violations.map(one => one.id))"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    found = Chromium(tmp_path_factory.mktemp("profile"), Path("/dev/null"))
    yield found
    found.close()


@pytest.fixture(scope="module", params=VERDICTS)
def verdict(request, runs, capfd_session) -> tuple[Path, str, str]:
    """The page of a run that came to this verdict, its first words, and their tone."""
    run_id, status, tone = VERDICTS[request.param]
    path, _ = capfd_session(lambda: review(runs.workdir, run_id))
    return path, status, tone


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("media", ["light", "dark", "print"])
def test_every_verdict_is_shown_and_accessible(browser, verdict, width, media):
    path, status, tone = verdict
    browser.show(path.as_uri(), width, dark=media == "dark")
    if media == "print":
        browser.send("Emulation.setEmulatedMedia", media="print")
    browser.run("dispatchEvent(new Event('beforeprint'))" if media == "print" else "0")

    assert browser.run("document.querySelector('.verdict strong').innerText") == status
    assert browser.run("document.querySelector('.verdict').className") == f"verdict {tone}"
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    background = browser.run("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(20, 22, 27)" if media == "dark" else "rgb(255, 255, 255)")
    # Folded parts are seen on paper; on a screen they are opened, to be looked at too.
    browser.run("document.querySelectorAll('details').forEach(item => { item.open = true; }); 0")
    browser.run(files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8") + "; 0")
    assert browser.run(AXE) == []
    assert browser.said == []


def test_every_verdict_says_what_happens_next_and_the_commands_for_it(runs, capfd_session):
    root = runs.workdir.root
    expected = {
        "pushed": ["Version 3 is in serving now", f"rollback --by NAME --note TEXT --workdir {root}"],
        "undecided": ["It is in serving", "undecided"],
        "waiting": [
            f"It waits for approval ({WAITING_FOR}); until a person decides, version 3 stays in serving.",
            f"approve 20260102-000002 --by NAME --note TEXT --workdir {root}",
            f"reject 20260102-000002 --by NAME --note TEXT --workdir {root}",
        ],
        "refused": [
            "Nothing was pushed, and version 3 stays in serving.",
            f"approve 20260103-000001 --override --by NAME --note REASON --workdir {root}",
        ],
    }
    for name, words in expected.items():
        path, said = capfd_session(lambda name=name: review(runs.workdir, VERDICTS[name][0]))
        head = html.unescape(re.sub(r"<[^>]+>", "", page_of(path).split('id="figures"')[0]))
        for text in words:
            assert text in head, (name, text)
        assert VERDICTS[name][1] in said
        as_of = re.search(r"As of (\S+ \S+) UTC\. A later decision does not change this file; for the current state: (.*)", head)
        age = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(f"{as_of[1]}+00:00")
        assert age < datetime.timedelta(minutes=5)
        assert as_of[2] == f"audio-gender review {VERDICTS[name][0]} --workdir {root}"


@pytest.mark.parametrize(("name", "how"), [("waiting", "by an override"), ("refused", "overriding the gate")])
def test_an_override_is_against_the_gate_only_where_the_gate_refused(runs, name, how):
    """Else it is one because another model came into serving meanwhile."""
    results = {result.run_id: result for result in read_results(runs.workdir)}
    decision = ReviewDecision(kind="approved", by="Ada", login="ada@here", when="2026-01-05", note="I know", override=True)
    pushed = results[VERDICTS[name][0]].model_copy(update={"verdict": "pushed", "decision": decision})
    warning = f"Ada pushed this model {how} on 2026-01-05: I know"
    assert inputs_of(runs.workdir, results, pushed).warning == warning


def test_the_page_of_a_run_names_it_its_corpus_and_its_models(runs, capfd_session):
    path, _ = capfd_session(lambda: review(runs.workdir, "20260102-000002"))
    text = page_of(path)
    facts = dict(re.findall(r"<dt>([^<]+)</dt><dd class=\"wrap\">(.*?)</dd>", text[text.index('id="run"') : text.index("<nav")]))
    fingerprint = json.loads((runs.workdir.root.parent / "same/dataset_info.json").read_text())["corpus_fingerprint"]
    assert facts["run"] == "20260102-000002"
    assert facts["corpus"].startswith("corpus (") and facts["corpus"].endswith(f"; fingerprint {fingerprint[:12]}")
    assert facts["candidate"] == "no version, it is not in serving" and facts["serving"] == "version 3, when the run began"
