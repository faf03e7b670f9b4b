"""The one error class for what a user can cause and mend."""

import re
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """One line for the user: what is wrong, where, and what to do. The command line prints it and exits with status 2."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns a UserError raised in a worker, which runners hand back inside another error's text, into itself again."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        found = re.search(r"UserError: ([^\n]*?)(?: \[while running '[^\n]*)?(?:\\n|\n|$)", str(error))
        if not found:
            raise
        raise UserError(found[1]) from error
