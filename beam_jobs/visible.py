# SPDX-License-Identifier: Apache-2.0
"""Text from outside, such as a speaker's id, a file's name or somebody's note, as it may be shown to people."""

from urllib.parse import unquote


def visible(text: str) -> str:
    r"""`text` on one line, with each character that would steer a terminal instead of being seen written out.

    >>> print(visible("\x1b[31mred\nnext \u202eline"))
    \x1b[31mred\nnext \u202eline

    Written out are control and format characters (escape sequences, bidirectional overrides), line ends, and the bytes of a
    name that are not UTF-8: what `str.isprintable` calls no printable character, as in Python's own `repr`.
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def readable(utterance_id: str) -> str:
    """An utterance's id without the percent signs that stand for white space in it (`beam_jobs.corpus.listing.utterance_id`).

    >>> readable("day1/rec%206367")
    'day1/rec 6367'
    """
    return unquote(utterance_id)
