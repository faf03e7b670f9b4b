# SPDX-License-Identifier: Apache-2.0
"""Opening the work folder's metadata store (MLMD in a SQLite file), and what is wrong where it cannot be opened."""

import re
import sqlite3
from contextlib import closing

from ml_metadata import MetadataStore
from ml_metadata.errors import StatusError

from beam_jobs.errors import UserError
from pipeline.workdir import WorkDir

WAIT_FOR_LOCK_S = 5.0
"""A run writes for a moment at a time; whoever holds the file longer is another program."""


def open_store(workdir: WorkDir) -> MetadataStore:
    """Opens the metadata store of a work folder in which runs were made.

    Raises:
        UserError: there is none, or it cannot be used.
    """
    store = check_store(workdir)
    if store is None:
        raise UserError(f"{workdir.root}: no run was made here; make one with `{workdir.command('run', '--config', 'demo')}`")
    return store


def check_store(workdir: WorkDir) -> MetadataStore | None:
    """The metadata store; None where none was made yet.

    Raises:
        UserError: it is locked, damaged, of another version or no metadata store at all, or it is gone while the artifacts that
            it describes are there.
    """
    path = workdir.metadata
    if not path.exists():
        if _artifacts_left(workdir):
            raise UserError(f"{path}: gone, and {workdir.tfx} holds what it described; {_afresh(workdir)}")
        return None
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=WAIT_FOR_LOCK_S)) as database:
            # A lock that lets others read would stop the run at its first record.
            database.execute("BEGIN IMMEDIATE")
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            (problem,) = database.execute("PRAGMA quick_check(1)").fetchone()
            (num_pages,), (page_bytes,) = (database.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size"))
            # The check takes what lacks of the last page for zeros.
            if tables and path.stat().st_size < num_pages * page_bytes:
                problem = "its end is missing"
    except sqlite3.Error as error:
        code = error.sqlite_errorcode & 0xFF  # without the extension that says where
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise UserError(f"{path}: locked by another process; end it (`fuser {path}` names it), then try again") from None
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_FULL):
            raise UserError(f"{path}: cannot be used ({error}); it must be a file that you may read and write") from None
        raise UserError(f"{path}: damaged ({error}); {_afresh(workdir)}") from None
    if problem != "ok":
        raise UserError(f"{path}: damaged ({' '.join(problem.split())}); {_afresh(workdir)}")
    if not tables and _artifacts_left(workdir):
        raise UserError(f"{path}: empty, and {workdir.tfx} holds what it described; {_afresh(workdir)}")
    if tables and "MLMDEnv" not in tables:
        raise UserError(f"{path}: a database of another program, not a metadata store; {_afresh(workdir)}")
    try:
        return MetadataStore(workdir.connection())
    except (RuntimeError, StatusError) as error:
        other = re.search(r"database version (\d+) is \w+ than library version (\d+)", str(error))
        what = f"schema version {other[1]}, and this program reads version {other[2]}" if other else " ".join(str(error).split())
        raise UserError(f"{path}: cannot be opened ({what}); use the program that wrote it, or {_afresh(workdir)}") from None


def _artifacts_left(workdir: WorkDir) -> bool:
    return workdir.tfx.is_dir() and any(workdir.tfx.iterdir())


def _afresh(workdir: WorkDir) -> str:
    # TFX numbers its artifacts' folders anew with a new store, and those numbers are taken.
    taken = [path.name for path in (workdir.metadata, workdir.tfx) if path.exists()]
    return (
        f"restore metadata.db from a copy, or start a new record with `mkdir {workdir.root}/old && "
        f"mv {' '.join(f'{workdir.root}/{name}' for name in taken)} {workdir.root}/old/` (serving, clips and reports stay)"
    )
