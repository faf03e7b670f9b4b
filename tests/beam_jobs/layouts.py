# SPDX-License-Identifier: Apache-2.0
"""The tone corpus once more, in every other layout: real files, written from its FLACs."""

import shutil
from pathlib import Path

import soundfile

FEMALE = ("11", "13", "15", "17", "19", "21")


def _utterances(corpus: Path) -> list[tuple[str, Path]]:
    return [(path.parts[-3], path) for path in sorted(corpus.glob("*/*/*/*.flac"))]


def _convert(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    samples, rate_hz = soundfile.read(source)
    soundfile.write(target, samples, rate_hz)


def common_voice(corpus: Path, root: Path) -> Path:
    """Speakers 11 and 12 in an older release's words, the others in a newer one's; 13 mentions it only once, 14 never."""
    lines = ["client_id\tpath\tsentence_id\tsentence\tage\tgender\taccents\n"]
    for speaker, path in _utterances(corpus):
        words = ("female", "male") if speaker in ("11", "12") else ("female_feminine", "male_masculine")
        gender = words[speaker not in FEMALE]
        if speaker == "14" or (speaker == "13" and not path.stem.endswith("1")):
            gender = ""
        name = f"common_voice_en_{path.stem}.mp3"
        _convert(path, root / "clips" / name)
        lines.append(f'client{speaker}\t{name}\t\tHe said "no.\t\t{gender}\t\n')
    (root / "validated.tsv").write_text("".join(lines))
    return root


def voxceleb(corpus: Path, root: Path) -> Path:
    """Speakers id11 to id21 in the set dev, the last in test."""
    lines = ["VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet\n"]
    for speaker, path in _utterances(corpus):
        line = f"id{speaker}\tSome_Body\t{'f' if speaker in FEMALE else 'm'}\tNorway\t{'test' if speaker == '22' else 'dev'}\n"
        if line not in lines:
            lines.append(line)
        _convert(path, root / "wav" / f"id{speaker}" / "Ab-_9" / f"0{path.stem[-4:]}.wav")
    (root / "vox1_meta.csv").write_text("".join(lines))
    return root


def plain_csv(corpus: Path, root: Path, header: str = "path,speaker_id,label", split: str = "") -> Path:
    """One folder for all, FLAC, WAV, OGG and MP3 in turn, names with a space."""
    lines = [f"{header}\n"]
    for number, (speaker, path) in enumerate(_utterances(corpus)):
        name = f"all of it/{path.stem}{('.flac', '.wav', '.ogg', '.mp3')[number % 4]}"
        _convert(path, root / name)
        lines.append(f"{name},s{speaker},{'Female' if speaker in FEMALE else 'm'}{split}\n")
    (root / "utterances.csv").write_text("".join(lines))
    return root


def librispeech(corpus: Path, root: Path) -> Path:
    """The corpus itself."""
    return Path(shutil.copytree(corpus, root))
