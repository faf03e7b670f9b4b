# SPDX-License-Identifier: Apache-2.0
"""The two pages about a corpus: their figures fit, they need no network, and a real browser shows and plays them."""

import re
import shutil

import pytest
import soundfile
from commands import call_here
from test_inspection import PROBE, browse

from beam_jobs.corpus.index import Speaker, SpeakerIndex, Utterance
from beam_jobs.corpus.pages import player_page, statistics_page
from beam_jobs.corpus.readers import read_corpus
from beam_jobs.corpus.summary import MAX_BINS, by_subset_and_label, histogram
from beam_jobs.generate_clips import generate_clips


@pytest.fixture(scope="module")
def listening(index) -> str:
    return player_page(index, 3, seed=0)


@pytest.fixture(scope="module")
def figures(index) -> str:
    return statistics_page(index, "LibriSpeech", "")


def test_the_pages_need_no_network(listening, figures):
    for text in (listening, figures):
        assert not re.findall(r"""(?:src|href)=["'](?!data:)""", text)
        assert "url(" not in text


def test_the_page_names_the_corpus_as_its_datasets_do(own_corpus, tmp_path, make_config):
    page, clips = tmp_path / "figures.html", tmp_path / "clips"
    assert call_here("corpus", "info", own_corpus, "--html", page).returncode == 0
    recorded = generate_clips(make_config(), read_corpus(own_corpus), str(clips)).corpus_fingerprint
    assert f"fingerprint {recorded[:12]}" in page.read_text()


def test_a_card_says_who_speaks_under_which_label_and_how_long(index, listening):
    labels = {speaker.id: speaker.label for speaker in index.speakers}
    heads = re.findall(
        r'<h2 id="u\d+">(\d+): (\w+)</h2>\s*<p>tones/(\d+)/1/\d+-1-000(\d)\.flac · (\d\.\d) s at 16000 Hz', listening
    )
    assert len(heads) == 3
    for speaker, label, folder, k, duration_s in heads:
        assert (label, folder, float(duration_s)) == (labels[speaker], speaker, 2.0 + int(k))


def test_the_same_seed_draws_the_same_utterances(index, listening):
    drawn = re.compile(r"<p>tones\S+")
    assert drawn.findall(player_page(index, 3, seed=0)) == drawn.findall(listening)
    assert drawn.findall(player_page(index, 3, seed=1)) != drawn.findall(listening)


def test_more_utterances_than_there_are(index):
    few = SpeakerIndex(index.root, index.speakers[:1])
    assert player_page(few, 10, seed=0).count("<audio") == 3


def test_a_damaged_file_says_so_on_its_card(own_corpus):
    corpus = read_corpus(own_corpus)
    for path in own_corpus.glob("*/*/*/*.flac"):
        path.write_bytes(b"no audio")
    page = player_page(corpus, 2, seed=0)
    assert page.count("<strong>cannot be decoded: it is a text file</strong>") == 2 and "<audio" not in page


@pytest.mark.parametrize(("rate_hz", "duration_s"), [(96_000, 1.0), (7_000, 1.0), (8_000, 61.0)])
def test_any_rate_can_be_heard_and_a_minute_of_it(tmp_path, make_tone, rate_hz, duration_s):
    soundfile.write(tmp_path / "a.wav", make_tone(150, duration_s, sample_rate_hz=rate_hz), rate_hz)
    utterance = Utterance("a", "a.wav", round(duration_s * rate_hz), rate_hz)
    page = player_page(SpeakerIndex(str(tmp_path), (Speaker("1", "male", "x", (utterance,)),)), 1, 0)
    assert 'src="data:audio/mpeg' in page
    assert ("the first 60 s" in page) == (duration_s > 60)


def test_what_a_file_is_called_cannot_become_markup(tmp_path):
    utterance = Utterance("a", "<script>.wav", 8000, 8000)
    index = SpeakerIndex(str(tmp_path), (Speaker("<b>", "male", "<i>", (utterance,)),), unlabelled=("<u>",))
    for page in (player_page(index, 1, 0), statistics_page(index, "CSV", "")):
        assert not re.search(r"<script|<b>|<i>|<u>", page)


def test_the_groups_add_up(index):
    *groups, total = by_subset_and_label(index)
    assert [(group.subset, group.label, group.speakers, group.utterances) for group in groups] == [
        ("tones", "female", 6, 18),
        ("tones", "male", 6, 18),
    ]
    assert (total.speakers, total.utterances, total.minutes) == (12, 36, pytest.approx(12 * 9 / 60))


@pytest.mark.parametrize(
    "values",
    [
        [3.0],
        [0.1] * 5,
        [1.0, 2.0],
        [k / 7 for k in range(1, 900)],
        [5.0] * 300 + [5000.0],
        [1e-3, 1e4],
        [60.0 * k for k in range(1, 99)],
    ],
)
def test_a_histogram_counts_every_value_once(values):
    bins = histogram({"female": values, "male": values[:1]})
    assert 1 <= len(bins) <= MAX_BINS + 1
    assert sum(bin.counts["female"] for bin in bins) == len(values)
    assert sum(bin.counts["male"] for bin in bins) == 1


def test_a_histogram_is_not_flattened_by_one_long_file():
    bins = histogram({"female": [1 + k / 100 for k in range(500)], "male": [3600.0]})
    assert bins[-1].range.endswith(" and more") and bins[-1].counts == {"female": 0, "male": 1}
    assert len([bin for bin in bins if bin.counts["female"]]) > 5


@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_both_pages_and_can_play(listening, figures, tmp_path, width):
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("no Chromium on the PATH (Debian: apt install chromium)")
    doms = []
    for name, text in (("listening", listening), ("figures", figures)):
        page = tmp_path / f"{name}.html"
        page.write_text(text.replace("</body>", f"{PROBE}</body>"))
        doms.append(browse(chromium, page, tmp_path, width))
        assert 'data-overflow="false"' in doms[-1]

    lengths = [float(length) for length in re.search(r'data-durations="([^"]*)"', doms[0])[1].split()]
    assert lengths == pytest.approx([float(item) for item in re.findall(r"· (\d\.\d) s at", listening)], abs=0.1)
    assert re.search(r'data-pictures="([^"]*)"', doms[0])[1] == "true true true"
