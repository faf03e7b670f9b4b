# SPDX-License-Identifier: Apache-2.0
"""The one error class for what a user can cause and fix."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """One line for the user: what is wrong, where, and what to do. The command line prints it and exits with status 2."""


# Where Beam logs a worker's exception, traceback and all, before it hands it back.
_BEAM_LOGGERS = (
    "apache_beam.runners.common",
    "apache_beam.runners.portability.local_job_service",
    "apache_beam.runners.portability.portable_runner",
    "apache_beam.runners.worker.sdk_worker",
)


def _is_no_user_error(record: logging.LogRecord) -> bool:
    return not isinstance(record.msg, UserError) and "UserError: " not in record.getMessage()


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns a UserError raised in a worker, which runners hand back inside another error's text, into itself again."""
    loggers = [logging.getLogger(name) for name in _BEAM_LOGGERS]
    for logger in loggers:
        logger.addFilter(_is_no_user_error)
    try:
        yield
    except Exception as error:
        text = f"UserError: {error}" if isinstance(error, UserError) else str(error)
        found = re.search(r"UserError: ([^\n]*?)(?: \[while running '[^\n]*)?(?:\\n|\n|$)", text)
        if not found:
            raise
        raise UserError(found[1]) from error
    finally:
        for logger in loggers:
            logger.removeFilter(_is_no_user_error)
