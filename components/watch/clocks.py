# SPDX-License-Identifier: Apache-2.0
"""Times that a wrong clock wrote."""

MAX_AHEAD_S = 3600.0
"""A clock may be this far ahead; what is from later still was written by one that was wrong."""
