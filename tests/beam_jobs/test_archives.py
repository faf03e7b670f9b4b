# SPDX-License-Identifier: Apache-2.0
"""Unpacking: hostile and broken archives are refused, and nothing leaves the folder."""

import gzip
import io
import random
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from beam_jobs.corpus.archives import unpack
from beam_jobs.errors import UserError

CONTENT = random.Random(0).randbytes(40_000)


def member(name: str, type: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = type, link, size
    return info


def tar_gz(path: Path, *members: tarfile.TarInfo, format: int = tarfile.PAX_FORMAT) -> Path:
    """An archive of a good file, then `members`, then another good file."""
    with tarfile.open(path, "w:gz", format=format) as tar:
        tar.addfile(member("corpus/first.bin", size=len(CONTENT)), io.BytesIO(CONTENT))
        for info in members:
            tar.addfile(info, io.BytesIO(CONTENT[: info.size]))
        tar.addfile(member("./corpus/deep/last.bin", size=len(CONTENT)), io.BytesIO(CONTENT))
    return path


@pytest.fixture
def outcome(tmp_path: Path) -> Callable[..., str]:
    """A function that unpacks and returns the refusal in words; whatever happens, all that appears is in the folder."""

    def run(archive: Path, max_bytes: int = 1_000_000) -> str:
        before = set(tmp_path.rglob("*"))
        try:
            unpack(archive, tmp_path / "unpacked", max_bytes, lambda num_bytes: None)
            said = ""
        except UserError as error:
            said = str(error)
            assert "\n" not in said
            assert said.startswith(f"{archive}: ")
        new = set(tmp_path.rglob("*")) - before
        assert all((tmp_path / "unpacked") in (path, *path.parents) for path in new)
        assert all((path.is_dir() or path.is_file()) and not path.is_symlink() for path in new)
        return said

    return run


def test_whole_archive(tmp_path, outcome):
    assert outcome(tar_gz(tmp_path / "good.tar.gz")) == ""
    assert (tmp_path / "unpacked/corpus/first.bin").read_bytes() == CONTENT
    assert (tmp_path / "unpacked/corpus/deep/last.bin").read_bytes() == CONTENT


def test_progress_counts_the_archives_bytes(tmp_path):
    archive = tar_gz(tmp_path / "good.tar.gz")
    steps: list[int] = []
    unpack(archive, tmp_path / "unpacked", 1_000_000, steps.append)
    assert 0 < sum(steps) <= archive.stat().st_size


@pytest.mark.parametrize(
    ("hostile", "said"),
    [
        (member("/tmp/evil"), "holds '/tmp/evil', a path that leaves the folder"),
        (member("../evil"), "holds '../evil', a path that leaves the folder"),
        (member("corpus/../../evil"), "a path that leaves the folder"),
        (member("corpus/.."), "a path that leaves the folder"),
        (member("corpus/link", tarfile.SYMTYPE, "../../evil"), "holds 'corpus/link', a link"),
        (member("corpus/link", tarfile.SYMTYPE, "/etc/passwd"), "a link"),
        (member("corpus/link", tarfile.SYMTYPE, "first.bin"), "a link"),
        (member("corpus/link", tarfile.LNKTYPE, "/etc/passwd"), "a link"),
        (member("corpus/device", tarfile.CHRTYPE), "holds 'corpus/device', a device or another special file"),
        (member("corpus/device", tarfile.BLKTYPE), "a device or another special file"),
        (member("corpus/pipe", tarfile.FIFOTYPE), "a device or another special file"),
        (member("corpus/new\nline", tarfile.FIFOTYPE), r"holds 'corpus/new\nline', a device"),
    ],
)
def test_hostile_member(tmp_path, outcome, hostile, said):
    assert said in outcome(tar_gz(tmp_path / "hostile.tar.gz", hostile))
    assert not (tmp_path / "unpacked/corpus/deep").exists()


def test_sparse_member(tmp_path, outcome):
    # 1 TB in one kilobyte: the file's size is not what the archive holds.
    info = member("corpus/holes")
    info.pax_headers = {"GNU.sparse.size": str(10**12), "GNU.sparse.map": "0,0"}
    assert "a sparse file" in outcome(tar_gz(tmp_path / "sparse.tar.gz", info))


def test_file_where_a_folder_is(tmp_path):
    archive = tar_gz(tmp_path / "clash.tar.gz", member("corpus/deep"))
    with pytest.raises(OSError, match="deep"):
        unpack(archive, tmp_path / "unpacked", 1_000_000, lambda num_bytes: None)


def test_bomb(tmp_path, outcome):
    archive = tmp_path / "bomb.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.addfile(member("corpus/zeros", size=50_000_000), io.BytesIO(bytes(50_000_000)))
    assert archive.stat().st_size < 100_000
    assert "unpacks to more than 1 MB" in outcome(archive)
    assert sum(path.stat().st_size for path in (tmp_path / "unpacked").rglob("*") if path.is_file()) <= 1_000_000


def test_bomb_behind_the_last_member(tmp_path, outcome):
    archive = tar_gz(tmp_path / "bomb.tar.gz")
    with archive.open("ab") as file:
        file.write(gzip.compress(bytes(50_000_000)))
    assert "unpacks to more than 1 MB" in outcome(archive)


def test_too_many_members(tmp_path, outcome, monkeypatch):
    monkeypatch.setattr("beam_jobs.corpus.archives.MAX_MEMBERS", 3)
    folders = [member(f"corpus/{k}", tarfile.DIRTYPE) for k in range(5)]
    assert "holds more than 3 members" in outcome(tar_gz(tmp_path / "many.tar.gz", *folders))


def test_archive_cut_short_anywhere(tmp_path, outcome):
    whole = tar_gz(tmp_path / "whole.tar.gz").read_bytes()
    draw = random.Random(1)
    for length in [0, 1, 10, len(whole) - 1, len(whole) - 8, *(draw.randrange(len(whole)) for _ in range(40))]:
        archive = tmp_path / f"cut-{length}.tar.gz"
        archive.write_bytes(whole[:length])
        assert "damaged or cut short" in outcome(archive), length
        shutil.rmtree(tmp_path / "unpacked")


def test_archive_cut_between_two_members(tmp_path, outcome):
    # Where tarfile alone sees an archive that simply ends: the compressed stream must end as well.
    flushed = io.BytesIO()
    with gzip.GzipFile(fileobj=flushed, mode="wb") as packed:
        packed.write(gzip.decompress(tar_gz(tmp_path / "whole.tar.gz").read_bytes())[: 1024 + 40_448 - 512])
        packed.flush()
        cut = flushed.getvalue()
    archive = tmp_path / "cut.tar.gz"
    archive.write_bytes(cut)
    assert "damaged or cut short" in outcome(archive)


def test_mutated_archives(tmp_path, outcome):
    draw = random.Random(2)
    infos = [member("corpus/" + "long/" * 25 + "name"), member("corpus/folder", tarfile.DIRTYPE), member("corpus/é", size=700)]
    formats = [
        tar_gz(tmp_path / "tar.gz", *infos, format=format).read_bytes() for format in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)
    ]
    for k in range(300):
        tar = bytearray(gzip.decompress(formats[k % 2]))
        headers = [at for at in range(0, len(tar), 512) if b"ustar" in tar[at + 257 : at + 265]]
        for _ in range(draw.randint(1, 4)):
            at = draw.choice(headers)
            tar[at + draw.randrange(512)] = draw.randrange(256)
            # A right checksum, or the header would not be looked at.
            tar[at + 148 : at + 156] = b" " * 8
            tar[at + 148 : at + 156] = b"%06o\0 " % sum(tar[at : at + 512])
        archive = tmp_path / "mutated.tar.gz"
        archive.write_bytes(gzip.compress(bytes(tar), 1))
        outcome(archive)
        shutil.rmtree(tmp_path / "unpacked")
