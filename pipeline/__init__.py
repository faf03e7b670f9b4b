"""What runs: the command line, the DAG, and its runners."""

import beam_jobs  # noqa: F401 (prepares the process before any library is imported)
