# SPDX-License-Identifier: Apache-2.0
"""What every process of this project needs around it: standard streams, and folders that libraries may write to.

Called before anything else is imported, in the command line, a Beam worker and a step on Kubernetes alike: librosa (numba) does
not even import where it finds no folder for its cache, which is minutes into a run.
"""

import os
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from beam_jobs.locks import is_locked, lock

SCRATCH = "audio-gender-tmp-"
"""How the name of a process's folder of temporary files begins; that of version 0.1, which is not locked, began otherwise."""
REMAINS_AFTER_S = 60


def prepare_process() -> None:
    """Opens standard streams that were closed, and gives libraries a folder to write to where the home folder is none."""
    _open_standard_streams()
    _find_a_home()


@contextmanager
def temporary_files() -> Iterator[None]:
    """A folder for all temporary files of the body: libraries leave thousands behind (TFX's packages for Beam, AutoGraph's code).

    Removes those of earlier processes that were killed, too.
    """
    import tempfile

    before = os.environ.get("TMPDIR"), tempfile.tempdir
    try:
        parent = Path(tempfile.gettempdir())
        _remove_remains(parent)
        folder = tempfile.mkdtemp(prefix=SCRATCH, dir=parent)
        # Said to whoever looks for remains: a later process of this project, and systemd-tmpfiles.
        held = lock(Path(folder), wait=False)
    except OSError:  # whoever needs a temporary file says so
        yield
        return
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    try:
        yield
    finally:
        os.environ.pop("TMPDIR")
        if before[0] is not None:
            os.environ["TMPDIR"] = before[0]
        tempfile.tempdir = before[1]
        shutil.rmtree(folder, ignore_errors=True)
        held.close()


def _remove_remains(parent: Path) -> None:
    for path in parent.glob(f"{SCRATCH}*"):
        with suppress(OSError):
            found = path.lstat()
            # A young one may be about to be locked.
            old = time.time() - found.st_ctime > REMAINS_AFTER_S
            if old and stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not is_locked(path):
                shutil.rmtree(path, ignore_errors=True)


def _open_standard_streams() -> None:
    # The next file to be opened would take the number of a closed stderr, and be written into by whatever library complains.
    if None in (sys.stdin, sys.stdout, sys.stderr):
        while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:
            os.set_inheritable(descriptor, True)
        os.close(descriptor)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 (for as long as the process lives)
    for stream in (sys.stdout, sys.stderr):
        # A locale that has no `…` is no reason to stop; a stream of a test's own may not know how.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _find_a_home() -> None:
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 (Path.home raises where a user id has no name and HOME is not set)
    if _can_be_written(Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")):
        return
    folder = _temporary_folder()
    if folder is None:
        return
    os.environ["XDG_CACHE_HOME"] = str(folder)  # numba, fontconfig and most others
    os.environ.setdefault("MPLCONFIGDIR", str(folder / "matplotlib"))
    # A home that is there and cannot be written may still hold someone's credentials.
    if not (home.is_absolute() and os.access(home, os.R_OK | os.X_OK)):
        os.environ["HOME"] = str(folder)


def _can_be_written(folder: Path) -> bool:
    while folder.is_absolute() and not os.path.exists(folder):  # noqa: PTH110 (Path.exists raises below a folder of somebody else)
        folder = folder.parent
    return folder.is_absolute() and folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _temporary_folder() -> Path | None:
    """This user's folder among the temporary ones, the same for each process, so that what numba compiled is there next time."""
    import tempfile

    try:
        folder = Path(tempfile.gettempdir()) / f"audio-gender-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        # numba runs what lies in its cache: not what somebody else could have put there.
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
            return folder
        return Path(tempfile.mkdtemp(prefix="audio-gender-"))
    except OSError:
        return None  # whoever needs a temporary file says so
