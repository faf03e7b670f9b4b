# SPDX-License-Identifier: Apache-2.0
"""What a file is that is not what its name says, by its first bytes: the usual accidents of a download."""

from pathlib import Path
from typing import IO

HEAD_BYTES = 512
MAGIC = (
    (b"PK\x03\x04", "it is a ZIP archive"),
    (b"\x1f\x8b", "it is a gzip archive"),
    (b"%PDF", "it is a PDF file"),
    (b"\x89PNG", "it is a picture (PNG)"),
    (b"\xff\xd8\xff", "it is a picture (JPEG)"),
    (b"version https://git-lfs", "it is a Git LFS pointer, and the recording was not fetched; run `git lfs pull`"),
)


def described(file: str | IO[bytes]) -> str:
    """What a file is, in words, where that is plain and no sound; otherwise nothing. An open file is read from its beginning."""
    return _describe(_head(file))


def misnamed(file: str | IO[bytes]) -> str:
    """What a file is, in words, if it is sound that only its name keeps ffmpeg from; otherwise nothing."""
    head = _head(file)
    if head[4:8] == b"ftyp":
        return "it is an MP4 file; give its name the ending .m4a"
    if head.startswith(b"\x1aE\xdf\xa3"):
        return "it is a Matroska or WebM file; give its name the ending .webm"
    return ""


def _head(file: str | IO[bytes]) -> bytes:
    if isinstance(file, str):
        try:
            with Path(file).open("rb") as opened:
                return opened.read(HEAD_BYTES)
        except OSError:
            return b"\xff"  # the decoder says why
    file.seek(0)
    head = file.read(HEAD_BYTES)
    file.seek(0)
    return head


def _describe(head: bytes) -> str:
    if not head:
        return "the file is empty"
    if not head.strip(b"\0"):
        return "it begins with nothing but zeros, like an interrupted download"
    for magic, what in MAGIC:
        if head.startswith(magic):
            return what
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head")):
        return "it is an HTML page, such as a server's error message"
    if start.startswith((b"<?xml", b"{")) and _is_text(head):
        return "it is a text file, such as a server's error message"
    return "it is a text file" if _is_text(head) else ""


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # a letter may be cut at the end
            return False
        text = head[: error.start].decode()
    return all(letter.isprintable() or letter in "\t\r\n" for letter in text)
