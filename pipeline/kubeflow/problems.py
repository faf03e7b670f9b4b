# SPDX-License-Identifier: Apache-2.0
"""What a failed step tells people: one line, in its log and in the field that Kubernetes and Argo show."""

import re
import sys
from contextlib import suppress
from pathlib import Path

from beam_jobs.errors import UserError
from beam_jobs.visible import visible
from pipeline.kubeflow.uris import container_path

TERMINATION_LOG = "/dev/termination-log"
"""Kubernetes reads a container's last words here, and Argo and Kubeflow's UI show them with the step."""
MAX_BYTES = 4096
"""What Kubernetes keeps of them."""
MORE_STORAGE = "give the step more storage, set data.scratch_gb lower, or generate fewer clips"
REMEDIES = {
    "No space left on device": MORE_STORAGE,
    "Disk quota exceeded": MORE_STORAGE,
    "Permission denied": "user 1000 must be able to read and write there: check owner and mode of the volume's root",
    "Read-only file system": "mount a writable volume there",
}
WHATS = "|".join(REMEDIES)
# As Python, and as TensorFlow's file systems write it. Beam hands an error back inside the text of another.
FORMS = (rf"\[Errno \d+\] (?P<what>{WHATS})(?:: '(?P<path>[^']+)')?", rf"(?P<path>/[^\s;]+); (?P<what>{WHATS})")


def one_line(error: BaseException) -> str | None:
    """What a user can do about an error; None where it is a bug."""
    if isinstance(error, UserError):
        return str(error)
    for form in FORMS:
        if found := re.search(form, str(error)):
            return f"{found['path'] or 'a file'}: {found['what']}; {REMEDIES[found['what']]}"
    return None


def report(line: str) -> None:
    """Writes a step's last words to its log and to Kubernetes."""
    print(visible(line), file=sys.stderr, flush=True)
    leave_for_kubernetes(line)


def leave_for_kubernetes(text: str) -> None:
    """Writes to the termination log, where there is one."""
    path = Path(container_path(TERMINATION_LOG))
    with suppress(OSError):  # a message must not hide the error that it is about
        if path.exists():
            path.write_bytes(text.encode()[:MAX_BYTES])
