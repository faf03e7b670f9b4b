# SPDX-License-Identifier: Apache-2.0
"""The report of five labels that are no voices, in Chromium."""

import re
from pathlib import Path

import pytest
from chromium import Chromium
from clip_datasets import reference_to
from review_artifacts import decided, degraded, write_evaluation, write_gate_result, write_history
from tasks.corpora import SOUNDS, write_sounds

from beam_jobs.config import ClipsConfig
from beam_jobs.corpus.readers import read_corpus
from beam_jobs.generate_clips import generate_clips
from components.review_report import curves
from components.review_report.inputs import ReportInputs
from components.review_report.page import render_report
from components.review_report.read import read_inputs

CLIPS = {
    "labels": list(SOUNDS), "duration_s": 2, "sample_rate_hz": 8000, "num_clips": {"train": 5, "eval": 5, "test": 50},
    "max_utterances": 1, "length_share": {"min": 1, "max": 1}, "split_shares": {"train": 0.2, "eval": 0.2, "test": 0.6},
}  # fmt: skip


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    folder = tmp_path_factory.mktemp("sounds")
    write_sounds(folder / "sounds", 10)
    generate_clips(ClipsConfig.model_validate(CLIPS), read_corpus(folder / "sounds"), str(folder / "clips"))
    predictions = write_evaluation(folder / "evaluation", folder / "clips", num_wrong=9, baseline_wrong=12)
    result = decided(predictions, list(SOUNDS), "7", degraded(predictions, 5, baseline=True))
    write_gate_result(folder / "blessing", result)
    write_history(folder / "model_run")
    return read_inputs(
        title="Run 1",
        evaluation_uri=str(folder / "evaluation"),
        blessing_uri=str(folder / "blessing"),
        clips=reference_to(folder / "clips"),
        model_run_uri=str(folder / "model_run"),
        dataset_uri=str(folder / "clips"),
        config={},
        baseline_config=None,
        facts={},
    )


@pytest.fixture(scope="module")
def page(inputs: ReportInputs) -> str:
    return render_report(inputs)


def test_the_page_says_nothing_of_two_labels_that_it_has_not(page: str) -> None:
    text = re.sub(r"<(style|script)\b.*?</\1>", "", page, flags=re.DOTALL)
    assert not re.search(r"\b(male|female|gender of|mixed|mirror image)\b", re.sub(r"<[^>]+>|data:[^\"]+", " ", text))


def test_the_four_hardest_are_drawn_each_in_its_own_colour(page: str, inputs: ReportInputs) -> None:
    scores = inputs.scores()[0]
    areas = {name: curves.roc(scores, number).area for number, name in enumerate(SOUNDS)}
    hardest = sorted(areas, key=lambda name: areas[name])[:4]

    assert re.findall(r"<title>ROC of (\w+)</title>", page) == [name for name in SOUNDS if name in hardest]
    for name in hardest:
        drawing = page[page.index(f"<title>Scores for {name}</title>") :].split("</svg>")[0]
        assert set(re.findall(r"--label-\d+", drawing)) == {f"--label-{SOUNDS.index(name)}"}


@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_the_window_and_has_a_slider_for_each_label(tmp_path: Path, page: str, inputs: ReportInputs, width: int) -> None:
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    browser = Chromium(tmp_path / "profile", tmp_path / "none.wav")
    try:
        browser.show((tmp_path / "page.html").as_uri(), width, False)
        assert browser.run("document.documentElement.scrollWidth") <= width
        # Nobody looks for half of a matrix behind its edge.
        assert (
            browser.run("[...document.querySelectorAll('.scroll:has(.matrix)')].map(one => one.scrollWidth - one.clientWidth)")
            == [0] * 3
        )
        if width == 1280:
            assert browser.run(
                "[...document.querySelectorAll('#operating-point .scroll')].every(one => one.scrollWidth <= one.clientWidth)"
            )
        assert browser.run("document.querySelectorAll('#operating-point input[type=range]').length") == len(SOUNDS)
        assert browser.said == []
    finally:
        browser.close()
