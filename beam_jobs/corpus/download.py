# SPDX-License-Identifier: Apache-2.0
"""Downloads one published file over HTTP until it is whole and has the published MD5, however often the line breaks.

Own code and not pooch, which starts from the beginning after each break and bounds no bytes: an archive has up to 30 GB.
"""

import contextlib
import re
import time
from dataclasses import dataclass
from pathlib import Path

import requests
import urllib3
from urllib3.util import Retry

from beam_jobs.console import progress, say
from beam_jobs.corpus.archives import md5
from beam_jobs.errors import UserError
from beam_jobs.paths import check_file

RETRY_STATUS = (429, 500, 502, 503, 504)
# A connection that brought this much is no failure in a row with those before it.
PROGRESS_BYTES = 1 << 20
MAX_RECEIVED = 4
"""Times the archive's size: what is received in all, from a server that knows no ranges, or a wrong archive in pieces."""
_BLOCK_BYTES = 1 << 18
_CONTENT_RANGE = re.compile(r"bytes (?P<start>\d{1,18})-\d+/(?:(?P<total>\d{1,18})|\*)")
_CONTENT_LENGTH = re.compile(r"(?P<start>)(?P<total>\d{1,18})")


@dataclass(frozen=True, slots=True)
class Archive:
    """A published archive of one subset; `resource` is its number at OpenSLR."""

    subset: str
    resource: int
    num_bytes: int
    md5: str

    @property
    def name(self) -> str:
        """Its file name."""
        return f"{self.subset}.tar.gz"

    def part(self, dest: Path) -> Path:
        """What is there of it while it is downloaded."""
        return dest / f"{self.name}.part"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long a silent server is waited for, and how often it is asked again, after 0, 2, 4, 8, … times `backoff_s`."""

    timeout_s: float = 30
    retries: int = 7
    backoff_s: float = 1


class _TryAgainError(Exception):
    """Passing trouble, in words; `response` may say how long to wait."""

    def __init__(self, reason: str, response: requests.Response | None = None) -> None:
        super().__init__(reason)
        self.response = response


def download(archive: Archive, url: str, dest: Path, policy: RetryPolicy) -> None:
    """Leaves an archive whole and checked in `dest`, and goes on with what is there of it.

    Raises:
        UserError: an address that serves no such archive, another one, or nothing for a while.
    """
    whole, part = dest / archive.name, archive.part(dest)
    # A whole archive may be a user's own download, or be cut since: it takes the same way as a partial one.
    if whole.exists():
        whole.replace(part)
    with requests.Session() as session:
        # Ranges count the file's own bytes, not those of a compressed transfer.
        session.headers["Accept-Encoding"] = "identity"
        transfer = _Transfer(session, archive, url, part, policy)
        for last in (False, True):
            in_pieces = transfer.complete()
            with progress(f"checking {archive.name}", archive.num_bytes / 1e6, "MB") as advance:
                found = md5(part, lambda num_bytes: advance(num_bytes / 1e6))
            if found == archive.md5:
                part.replace(whole)
                return
            part.unlink()
            if last or not in_pieces:
                raise UserError(
                    f"{url}: MD5 {found}, but {archive.md5} is published; the download was deleted; try a mirror with --base-url"
                )
            say(f"  {archive.name}: the joined download does not match the published MD5; starting over")


@dataclass(slots=True)
class _Transfer:
    """All connections for one archive. `received` counts the bytes of all of them."""

    session: requests.Session
    archive: Archive
    url: str
    part: Path
    policy: RetryPolicy
    received: int = 0

    def complete(self) -> bool:
        """Downloads until `part` has the archive's size; says whether more than one connection contributed."""
        archive, policy = self.archive, self.policy
        if num_bytes_of(self.part) > archive.num_bytes:
            self.part.unlink()
        full = Retry(total=policy.retries, backoff_factor=policy.backoff_s, backoff_max=60, retry_after_max=60)
        retries, best = full, num_bytes_of(self.part)
        connections = 1 if best else 0
        while num_bytes_of(self.part) < archive.num_bytes:
            connections += 1
            response = None
            try:
                self._receive()
                continue
            except _TryAgainError as error:
                reason, response = str(error), error.response
            except (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError) as error:
                reason = _reason(error, policy)
            except requests.RequestException as error:
                raise UserError(f"{self.url}: cannot be requested ({error}); check --base-url") from None
            if (have := num_bytes_of(self.part)) >= best + PROGRESS_BYTES:
                retries, best = full, have
            try:
                retries = retries.increment("GET", self.url)
            except urllib3.exceptions.MaxRetryError:
                raise UserError(
                    f"{self.url}: {reason}, {policy.retries + 1} times in a row; what was received is kept: "
                    "run the same command again later, or name a mirror with --base-url"
                ) from None
            wait_s = _wait_s(retries, response)
            again = f"in {wait_s:.0f} s" if wait_s else "now"
            say(f"  {archive.name}: {reason}; {have / 1e6:.1f} MB are here; again {again}")
            time.sleep(wait_s)
        return connections > 1

    def _receive(self) -> None:
        """Asks for what `part` lacks, and appends what comes; where the server sends the whole file, starts `part` again."""
        url, num_bytes, have = self.url, self.archive.num_bytes, num_bytes_of(self.part)
        headers = {"Range": f"bytes={have}-"} if have else {}
        with self.session.get(url, headers=headers, stream=True, timeout=self.policy.timeout_s) as response:
            start = self._check(response, have)
            size = f"{num_bytes / 1e6:.0f} MB"
            title = f"fetching {self.archive.name}, " + (f"the rest of {size}" if start else size)
            with self.part.open("ab" if start else "wb") as file, progress(title, (num_bytes - start) / 1e6, "MB") as advance:
                # read1 hands over what has come: where the connection breaks, nothing of it is lost.
                while block := response.raw.read1(_BLOCK_BYTES, decode_content=False):
                    start += len(block)
                    self.received += len(block)
                    if start > num_bytes:
                        raise UserError(f"{url}: more than the published {num_bytes} bytes; try a mirror with --base-url")
                    if self.received > MAX_RECEIVED * num_bytes:
                        raise UserError(
                            f"{url}: {self.received} bytes received, {MAX_RECEIVED} times the archive's size; "
                            "try a mirror with --base-url"
                        )
                    file.write(block)
                    advance(len(block) / 1e6)
        if start < num_bytes:
            raise _TryAgainError("the connection was lost")

    def _check(self, response: requests.Response, have: int) -> int:
        """Where in the file the answer starts, if it is one that helps."""
        status = response.status_code
        if status in RETRY_STATUS:
            raise _TryAgainError(f"the server answers {status} {response.reason}", response)
        start, total = _span(response)
        if have and (status == 416 or (status == 206 and start != have)):
            self.part.unlink()
            raise _TryAgainError("the server does not resume at the requested position")
        if status != (206 if start else 200):
            raise UserError(f"{self.url}: the server answers {status} {response.reason}; check --base-url")
        if total not in (None, self.archive.num_bytes):
            raise UserError(
                f"{self.url}: {total} bytes, where {self.archive.num_bytes} are published; try a mirror with --base-url"
            )
        return start


def num_bytes_of(path: Path) -> int:
    """A file's size; 0 where there is none. Raises OSError where it is no file."""
    if not path.exists():
        return 0
    check_file(path)
    return path.stat().st_size


def _span(response: requests.Response) -> tuple[int, int | None]:
    """Where in the file the answer starts, and the file's size where the server tells it (RFC 9110, 14.4)."""
    name, pattern = ("Content-Range", _CONTENT_RANGE) if response.status_code == 206 else ("Content-Length", _CONTENT_LENGTH)
    found = pattern.fullmatch(response.headers.get(name, ""))
    return (int(found["start"] or 0), int(found["total"]) if found["total"] else None) if found else (0, None)


def _reason(error: BaseException, policy: RetryPolicy) -> str:
    cause = error
    while inner := cause.__cause__ or cause.__context__:
        cause = inner
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError) or isinstance(cause, TimeoutError):
        return f"no answer within {policy.timeout_s:g} s"
    said = getattr(cause, "strerror", None) or "the connection was lost"
    return f"{said[0].lower()}{said[1:]}"


def _wait_s(retries: Retry, response: requests.Response | None) -> float:
    asked = None
    if response is not None:
        with contextlib.suppress(urllib3.exceptions.InvalidHeader):
            asked = retries.get_retry_after(response.raw)
    return asked or retries.get_backoff_time()
