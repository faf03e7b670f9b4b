# SPDX-License-Identifier: Apache-2.0
"""Speaker lists that were damaged in some way: one line that says so, or labels that the lines used still give; nothing else.

MUTATIONS=10000 in the environment sets how many of each list are tried.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path

import layouts
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_jobs.corpus.index import SpeakerIndex
from beam_jobs.corpus.listing import utterance_id
from beam_jobs.corpus.readers import read_corpus
from beam_jobs.errors import UserError
from beam_jobs.visible import visible

MUTATIONS = int(os.environ.get("MUTATIONS", "200"))
# What a slip of the hand, another program or a broken disk puts into such a file.
TOKENS = [
    b"\t", b"|", b",", b";", b'"', b'""', b"'", b"\n", b"\r", b"\r\n", b"\0", b" ", b"\xef\xbb\xbf", b"\xff", b"\xc3", b"\x0b",
    b"\xe2\x80\xa8", b"\xc2\x85", b"\xc2\xa0", b"F", b"M", b"f", b"m", b"female", b"male", b"female_feminine", b"male_masculine",
    b"other", b"11", b"12", b"id11", b"client12", b"s13", b"test", b"train", b"../", b"/", b".", b"", b"x" * 300, b"x" * 140_000,
]  # fmt: skip
OTHER = {b"F": b"M", b"M": b"F", b"f": b"m", b"m": b"f", b"female": b"male", b"male": b"female"}
edits = st.lists(
    st.tuples(
        st.sampled_from(["insert", "replace", "cut", "copy line", "swap lines", "drop line", "swap fields", "other label"]),
        st.integers(0, 10_000),
        st.integers(0, 10_000),
        st.sampled_from(TOKENS) | st.binary(max_size=4),
    ),
    min_size=1,
    max_size=4,
)
Edits = list[tuple[str, int, int, bytes]]


def mutate(content: bytes, edits: Edits) -> bytes:
    for kind, a, b, token in edits:
        lines = content.split(b"\n")
        at, other = a % len(lines), b % len(lines)
        place = a % (len(content) + 1)
        if kind == "insert":
            content = content[:place] + token + content[place:]
        elif kind == "replace":
            content = content[:place] + token + content[place + max(1, b % 12) :]
        elif kind == "cut":
            content = content[:place]
        elif kind == "other label":
            words = list(re.finditer(rb"(?<![A-Za-z])(?:fe)?male|(?<=[|\t,] )[FM](?= )|(?<=[|\t,])[fm](?![a-z])", content))
            if words:
                word = words[a % len(words)]
                content = content[: word.start()] + OTHER[word[0]] + content[word.end() :]
        elif kind == "swap fields":
            fields = re.split(rb"([\t,|])", lines[at])
            x, y = 2 * (b % ((len(fields) + 1) // 2)), 2 * (b // 7 % ((len(fields) + 1) // 2))
            fields[x], fields[y] = fields[y], fields[x]
            content = b"\n".join([*lines[:at], b"".join(fields), *lines[at + 1 :]])
        else:
            if kind == "copy line":
                lines.insert(other, lines[at])
            elif kind == "swap lines":
                lines[at], lines[other] = lines[other], lines[at]
            else:
                del lines[at]
            content = b"\n".join(lines)
    return content


# What a list says, read in another way than the program does: (speaker, file name or "" for all of the speaker's, label).
Said = set[tuple[str, str, str]]


def librispeech_says(text: str) -> Said:
    words = {"F": "female", "M": "male"}
    found = re.findall(r"^\s*([^;|\s][^|\n]*?)\s*\|\s*([FM])\s*\|[^|\n]*\|[^|\n]*\|", text, re.MULTILINE)
    return {(speaker, "", words[sex]) for speaker, sex in found}


def common_voice_says(text: str) -> Said:
    header, *lines = [[field.strip() for field in line.split("\t")] for line in text.split("\n") if line.strip()]
    who, path, gender = (header.index(name) for name in ("client_id", "path", "gender"))
    return {(line[who], line[path], re.sub("_.*", "", line[gender])) for line in lines}


def voxceleb_says(text: str) -> Said:
    header, *lines = [[field.strip() for field in line.split("\t")] for line in text.split("\n") if line.strip()]
    who, gender = header.index("VoxCeleb1 ID"), header.index("Gender")
    return {(line[who], "", {"f": "female", "m": "male"}.get(line[gender], "")) for line in lines}


def csv_says(text: str) -> Said:
    words = {"f": "female", "m": "male", "female": "female", "male": "male"}
    header, *lines = [[field.strip().strip('"') for field in line.split(",")] for line in text.split("\n") if line.strip()]
    path, who, label = (header.index(name) for name in ("path", "speaker_id", "label"))
    return {
        (line[who] or utterance_id(line[path]), line[path].split("/")[-1], words.get(line[label].lower(), visible(line[label])))
        for line in lines
    }


@pytest.fixture(scope="module", params=["LibriSpeech", "Common Voice", "VoxCeleb1", "CSV"])
def case(request, corpus: Path, tmp_path_factory) -> tuple[Path, Path, Callable[[str], Said]]:
    """A folder of one layout with four speakers, its list, and what the list says."""
    make, file, says = {
        "LibriSpeech": (layouts.librispeech, "SPEAKERS.TXT", librispeech_says),
        "Common Voice": (layouts.common_voice, "validated.tsv", common_voice_says),
        "VoxCeleb1": (layouts.voxceleb, "vox1_meta.csv", voxceleb_says),
        "CSV": (layouts.plain_csv, "utterances.csv", csv_says),
    }[request.param]
    root = make(corpus, tmp_path_factory.mktemp("damaged") / "corpus")
    lines = (root / file).read_text().splitlines(keepends=True)
    few = [line for line in lines if not re.search(r"(?:^|client|id|/)(?:1[5-9]|2[0-2])[\s-]", line)]
    (root / file).write_text("".join(few))
    return root, root / file, says


def test_a_damaged_list_never_gives_a_wrong_label(case, tmp_path_factory) -> None:
    root, path, says = case
    content = path.read_bytes()
    cache = tmp_path_factory.mktemp("cache")
    before = read_corpus(root, cache=cache)
    truth = {item.path: speaker.label for speaker in before.speakers for item in speaker.utterances}
    assert len(truth) >= 9
    outcomes = {"refused": 0, "read": 0, "changed": 0}

    @settings(max_examples=MUTATIONS, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(edits)
    def check(edits: Edits) -> None:
        mutated = mutate(content, edits)
        path.write_bytes(mutated)
        try:
            index = read_corpus(root, cache=cache)
        except UserError as error:
            assert "\n" not in str(error)
            outcomes["refused"] += 1
            return
        check_labels(index, says(lines_used(mutated, path.name, index)))
        assert SpeakerIndex.from_json(index.to_json(), "index") == index
        changed = any(truth.get(item.path) != speaker.label for speaker in index.speakers for item in speaker.utterances)
        outcomes["changed" if changed else "read"] += 1

    try:
        check()
    finally:
        path.write_bytes(content)
    print(path.name, outcomes)
    assert outcomes["refused"] and outcomes["read"]


def lines_used(content: bytes, name: str, index: SpeakerIndex) -> str:
    """The lines that the index does not name as unusable."""
    named = {item.path for item in index.rejected}
    lines = [line for number, line in enumerate(content.split(b"\n"), start=1) if f"{name}:{number}" not in named]
    return b"\n".join(lines).decode().removeprefix("\ufeff")


def check_labels(index: SpeakerIndex, said: Said) -> None:
    by_speaker: dict[str, set[str]] = {}
    for speaker_id, _, label in said:
        by_speaker.setdefault(speaker_id, set()).add(label)
    speakers_of = {name: speaker_id for speaker_id, name, _ in said if name}
    for speaker in index.speakers:
        assert by_speaker[speaker.id] - {""} == {speaker.label}
        for item in speaker.utterances:
            if speakers_of:
                assert speakers_of[item.path.split("/")[-1]] == speaker.id


@pytest.mark.parametrize(
    ("make", "file", "delimiter", "column", "speaker"),
    [
        (layouts.common_voice, "validated.tsv", "\t", "gender", "client11"),
        (layouts.plain_csv, "utterances.csv", ",", "label", "s11"),
    ],
    ids=["Common Voice", "CSV"],
)
def test_a_line_that_is_not_used_labels_nobody(corpus, tmp_path, make, file, delimiter, column, speaker) -> None:
    root = make(corpus, tmp_path / "corpus")
    header, *rows = [line.split(delimiter) for line in (root / file).read_text().splitlines()]
    place = header.index(column)
    mine = [row for row in rows if speaker in row]
    again = list(mine[0])  # names the label of the speaker, who has none otherwise, and a file that is listed already
    for row in mine:
        row[place] = ""
    (root / file).write_text("".join(f"{delimiter.join(row)}\n" for row in (header, *rows, again)))

    index = read_corpus(root)

    assert again[place] and speaker in index.unlabelled
    assert speaker not in {found.id for found in index.speakers}
    assert f"{file}:{len(rows) + 2}" in {item.path for item in index.rejected}
