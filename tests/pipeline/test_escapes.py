# SPDX-License-Identifier: Apache-2.0
"""What a terminal would act on is shown instead: in ids, names, notes and errors, on a real pseudo-terminal."""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import soundfile
from commands import COMMAND, CONFIG, environment

# xterm's manual (Control Sequences): title, clipboard, colours, clearing the screen, reports that it types back; and what
# Unicode's technical report 36 warns of.
ATTACKS = {
    "colour": "\x1b[31mred",
    "clear": "\x1b[2J\x1b[H",
    "title": "\x1b]0;owned\x07",
    "clipboard": "\x1b]52;c;cm0gLXJm\x07",
    "report": "\x1bP$qm\x1b\\",
    "C1": "\x9b31m\x9d0;owned\x9c",
    "bidi": "\u202eelam\u202c\u2066x\u2069",
    "back": "male\b\b\b\bevil",
    "zero": "ma\u200ble\u00ad\ufeff",
}
# What rich itself sends: colours and styles, the cursor's visibility, and going back over a progress bar.
OWN = re.compile(rb"\x1b\[[\d;]*m|\x1b\[\?25[lh]|\x1b\[[12]?[AK]|\r|\n")


def shown(command: Sequence[str | Path]) -> bytes:
    """The bytes that a command sends to its terminal, without rich's own."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*map(str, command)],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=environment(TERM="xterm-256color", COLUMNS="200"),
    )
    os.close(follower)
    sent = b""
    try:
        while block := os.read(leader, 4096):
            sent += block
    except OSError:  # its end
        pass
    process.wait(60)
    os.close(leader)
    return OWN.sub(b"", sent)


def written_out(text: str) -> bytes:
    return b"".join(letter.encode() if letter.isprintable() else letter.encode("unicode_escape") for letter in text)


def assert_harmless(sent: bytes) -> None:
    text = sent.decode()
    assert not re.findall(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]", text), text


@pytest.mark.parametrize("name", ATTACKS)
def test_ids_and_files_of_a_corpus(tmp_path, make_tone, name):
    corpus, attack = tmp_path / "corpus", ATTACKS[name]
    corpus.mkdir()
    soundfile.write(corpus / "1.wav", make_tone(120, 2.0), 16_000)
    soundfile.write(corpus / "2.wav", make_tone(120, 2.0), 16_000)
    soundfile.write(corpus / "4.wav", make_tone(130, 2.0), 16_000)
    rows = ["path,speaker_id,label", "1.wav,1,male", f"2.wav,b{attack},", f"{attack}.wav,3,male", f"4.wav,4,x{attack}"]
    (corpus / "utterances.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")

    sent = shown([*COMMAND, "corpus", "info", corpus])
    assert_harmless(sent)
    escaped = written_out(attack)
    assert b"without a usable label: b" + escaped[:16] in sent.replace(b"\xe2\x80\xa6", b"")
    assert b"x" + escaped in sent
    assert escaped + b".wav: cannot be opened" in sent

    # In an error line, with a line end that would forge a line of its own.
    sent = shown([*COMMAND, "corpus", "info", f"{corpus}/{attack}\nerror: nothing"])
    assert_harmless(sent)
    assert escaped + b"\\nerror: nothing: no such folder" in sent


def test_an_argument_that_is_none(tmp_path):
    assert_harmless(shown([*COMMAND, "corpus", f"in{ATTACKS['title']}fo"]))
    assert_harmless(shown([*COMMAND, "corpus", "info", "a", ATTACKS["clear"]]))
    assert_harmless(shown([*COMMAND, "corpus", "listen", "a", "-n", ATTACKS["colour"]]))


def test_a_key_of_the_configuration(tmp_path):
    (tmp_path / "c.yaml").write_text(CONFIG + '"\\e[31mtrian": {}\n')
    sent = shown([*COMMAND, "run", "--config", tmp_path / "c.yaml", "--workdir", tmp_path / "w"])
    assert_harmless(sent)
    assert b"unknown key '\\x1b[31mtrian'" in sent


@pytest.mark.parametrize("name", ATTACKS)
def test_tables_and_lines_of_all_commands(name):
    """A note, a name, a slice: whatever `print_table` and `say` are given."""
    program = f"""
import sys
from beam_jobs.console import progress, say
from pipeline.table import print_table
attack = {ATTACKS[name]!r}
print_table(f"Runs in {{attack}}", ("run", attack), [(attack, f"refused ({{attack}})")])
say(f"rejected: by {{attack}}")
with progress(f"checking {{attack}}", 2, "MB") as advance:
    advance(1, attack)
"""
    sent = shown([sys.executable, "-c", program])
    assert_harmless(sent)
    assert sent.count(written_out(ATTACKS[name])) >= 5


def test_the_index_keeps_names_as_they_are(tmp_path, make_tone):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number in (1, 2):
        soundfile.write(corpus / f"{number}.wav", make_tone(120, 2.0), 16_000)
    rows = ["path,speaker_id,label", f"1.wav,{ATTACKS['bidi']},male", "2.wav,2,female"]
    (corpus / "utterances.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    done = subprocess.run([*COMMAND, "corpus", "info", corpus, "--json", tmp_path / "i.json"], env=environment(), timeout=60)
    assert done.returncode == 0
    index = json.loads((tmp_path / "i.json").read_text(encoding="utf-8"))
    assert {speaker["id"] for speaker in index["speakers"]} == {ATTACKS["bidi"], "2"}
