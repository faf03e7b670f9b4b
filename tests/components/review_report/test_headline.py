# SPDX-License-Identifier: Apache-2.0
"""What the page says first, for every way in which a run can end."""

import dataclasses
import re

import numpy as np
import pytest
from test_review_report import dataset, inputs, text_of  # noqa: F401 (fixtures)

from components.gate.result import Check
from components.review_report import facts
from components.review_report.formatting import Counts, counts
from components.review_report.headline import Standing, status, tone
from components.review_report.next_steps import before_push
from components.review_report.page import render_report

HOLDS = Check(kind="value", metric="accuracy", slice="all", clips=24, value=0.9, threshold=0.5, margin=0.4, decides=True, ok=True)
FAILS = HOLDS.model_copy(update={"threshold": 0.95, "margin": -0.05, "ok": False})
UNDEFINED = HOLDS.model_copy(update={"metric": "auc", "value": None, "margin": None, "decides": False})
UNDECIDED = HOLDS.model_copy(update={"slice": "label=male", "clips": 4, "decides": False})


@pytest.fixture
def gate(inputs):  # noqa: F811
    """A function that makes the gate's result out of these checks."""

    def make(*checks: Check):
        failed = [check for check in checks if check.decides and not check.ok]
        update = {
            "checks": list(checks),
            "blessed": not failed,
            "reasons": ["accuracy on all is 0.9, below 0.95"] if failed else [],
        }
        return inputs.gate.model_copy(update=update)

    return make


@pytest.mark.parametrize(
    ("checks", "verdict", "shown", "expected"),
    [
        ([HOLDS], "pushed", "Pushed", "good"),
        ([HOLDS, UNDEFINED], "pushed", "Pushed", "good"),
        ([HOLDS, UNDECIDED], "pushed", "Pushed", "open"),
        ([UNDECIDED], "pushed", "Pushed", "open"),
        ([], "pushed", "Pushed", "open"),  # nothing was asked for, so nothing was shown
        ([HOLDS], "waiting", "Waits for a decision", "open"),
        ([HOLDS, FAILS], "refused", "Refused", "bad"),
        ([HOLDS, FAILS], "pushed", "Pushed", "bad"),  # against the gate
        ([HOLDS], "rejected", "Rejected", "bad"),
    ],
)
def test_nothing_green_stands_above_a_failed_or_undecided_check(inputs, gate, checks, verdict, shown, expected):  # noqa: F811
    result, standing = gate(*checks), Standing(verdict, "Next.")
    assert (status(result, standing), tone(result, standing)) == (shown, expected)

    page = render_report(dataclasses.replace(inputs, gate=result, standing=standing))

    headline = page[page.index('<div class="verdict') : page.index('id="thresholds"')]
    assert f'<div class="verdict {expected}">' in headline
    assert ("good" in re.findall(r'class="(?:verdict|mark) (\w+)"', headline)) == (expected == "good")
    assert f"{checks.count(UNDECIDED) or 'none'} undecided" in text_of(headline) or not checks


def test_the_three_counts_add_up(inputs):  # noqa: F811
    found = counts(inputs.gate.checks)
    undefined = [check for check in inputs.gate.checks if check.value is None and not check.decides]
    assert undefined and found.all == len(inputs.gate.checks) - len(undefined)
    assert counts([HOLDS, FAILS, UNDECIDED, FAILS, UNDEFINED]) == Counts(1, 2, 1)


def test_where_only_the_gate_has_spoken_its_word_is_the_status(gate):
    assert status(gate(HOLDS), None) == "Blessed" and status(gate(FAILS), None) == "Refused"


@pytest.mark.parametrize(
    ("checks", "mode", "verdict", "says"),
    [
        ([FAILS], "auto", "refused", "version 7 stays in serving"),
        ([FAILS], "review", "refused", "The Pusher pushes nothing"),
        ([HOLDS], "review", "waiting", "until a person approves the model, version 7 stays in serving"),
        ([HOLDS], "auto", "blessed", "The Pusher comes next"),
        ([HOLDS], "canary", "blessed", "makes the model a candidate, which a server tries before it comes into serving"),
    ],
)
def test_before_the_push_the_page_says_what_the_pusher_will_do(gate, checks, mode, verdict, says):
    on_kubeflow, here = (before_push(gate(*checks), "4a6c", mode, by_package) for by_package in (True, False))
    assert on_kubeflow.verdict == here.verdict == verdict
    assert says in on_kubeflow.next_step and says in here.next_step
    assert bool(on_kubeflow.commands) == (verdict != "refused") and here.commands == []


def test_the_commands_are_those_that_the_command_line_takes(gate):
    """The referee is the program's own parser."""
    import shlex

    from typer.core import TyperGroup
    from typer.main import get_command

    from pipeline.cli import app

    group = get_command(app)
    assert isinstance(group, TyperGroup)
    for _, command in before_push(gate(HOLDS), "4a6c", "review", True).commands:
        program, name, *arguments = shlex.split(command)
        parsed = group.commands[name].make_context(name, arguments)
        assert program == "audio-gender" and parsed.params


@pytest.mark.parametrize(
    ("subsets", "folder", "name"),
    [
        (["synth"], "/w/corpus/synth-09a3", "demo corpus (synth): voices synthesised by espeak-ng"),
        (["train-clean-100"], "/data/here", "LibriSpeech (train-clean-100): read speech from audiobooks"),
        (["dev-other", "train-clean-360"], "", "LibriSpeech (dev-other, train-clean-360): read speech from audiobooks"),
        (["train"], "/data/calls/", "calls (train)"),
        ([], "/data/calls", "calls"),
        ([], "", "not named"),
    ],
)
def test_a_corpus_is_called_what_it_is(subsets, folder, name):
    assert facts.corpus_name(subsets, folder) == name


@pytest.mark.parametrize(("subsets", "read", "synthetic"), [(["synth"], 0, 1), (["train-clean-100"], 1, 0), (["calls"], 0, 0)])
def test_the_model_card_describes_the_corpus_that_was_used(inputs, subsets, read, synthetic):  # noqa: F811
    dataset = inputs.dataset.model_copy(update={"corpus_subsets": subsets})  # noqa: F811
    page = text_of(render_report(dataclasses.replace(inputs, dataset=dataset)))
    card = page[page.index("What it is for") :]
    assert ("read speech" in card) == bool(read) and ("espeak-ng" in card) == bool(synthetic)
    assert ("No human voice was heard" in card) == bool(synthetic)


def test_ids_are_decoded_where_people_read_them(inputs):  # noqa: F811
    found = dataclasses.replace(inputs.predictions, utterance_ids=[("day1/rec%206367", "100%25")] * len(inputs.predictions.ids))
    page = text_of(render_report(dataclasses.replace(inputs, predictions=found)))
    assert "day1/rec 6367, 100%" in page and "%20" not in page


def test_a_configuration_that_nobody_kept_is_not_one_of_no_model(inputs):  # noqa: F811
    page = text_of(render_report(dataclasses.replace(inputs, baseline_config=None)))
    assert "the serving model was not made by a run whose configuration is kept" in page
    assert "No model was in serving" not in page


def test_a_long_table_of_speakers_is_folded_and_a_short_one_is_not(inputs):  # noqa: F811
    def section(page: str) -> str:
        return page[page.index('id="speakers"') : page.index('id="cost"')]

    short = section(render_report(inputs))
    names = [(f"s{k % 20}",) for k in range(len(inputs.predictions.ids))]
    long = section(
        render_report(dataclasses.replace(inputs, predictions=dataclasses.replace(inputs.predictions, speaker_ids=names)))
    )

    assert "<details>" not in short and short.count('class="speakers sortable"') == 1
    assert "All 20 speakers</summary>" in long and "Speakers most often wrong" in long
    assert long[long.index("<details>") :].count('<th scope="row"') == 20


def test_a_speaker_whom_the_model_contradicts_is_listed_with_players(inputs):  # noqa: F811
    """The labels of one speaker's clips are swapped, the sound is real."""
    found = inputs.predictions
    candidate = np.full_like(found.candidate, 0.02)
    candidate[np.arange(len(found.ids)), found.labels] = 0.98
    wrong = [position for position, _ in enumerate(found.ids) if position < 3]
    candidate[wrong] = candidate[wrong, ::-1]
    names = [("odd",) if position in wrong else (f"s{position}",) for position in range(len(found.ids))]
    labels = found.labels.copy()
    labels[wrong], candidate[wrong] = 0, [0.02, 0.98]
    changed = dataclasses.replace(found, candidate=candidate, labels=labels, speaker_ids=names)

    page = render_report(
        dataclasses.replace(inputs, predictions=changed, clips=dict.fromkeys(found.ids, next(iter(inputs.clips.values()))))
    )

    section = page[page.index('id="suspects"') : page.index('id="cost"')]
    assert "Speaker odd: labelled male, heard as female on all 3 clips (mean probability 0.980)" in text_of(section)
    assert section.count("<audio") == 2
