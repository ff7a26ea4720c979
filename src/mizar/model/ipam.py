"""Which addresses of one prefix are taken, and the next free one: constant cost at any size.

A bitmap in words with one bit per full word on top, next-fit from a cursor. Of a
large prefix it has the first `limits.POOL_ADDRESSES`: the others are nobody's
until somebody names one. It knows nothing of endpoints or time; `state` says what
is taken.
"""

from __future__ import annotations

from typing import Final

from mizar.model import addresses, limits

WORD: Final = 1024  # addresses a word
_FULL: Final = (1 << WORD) - 1


class Pool:
    """Addresses of a prefix as numbers. Words appear with their first taken address."""

    __slots__ = ("_all_words", "_full", "_span", "_words", "cursor")

    def __init__(self, span: addresses.Span) -> None:
        self._span = span = addresses.Span(
            span.first, min(span.last, span.first + limits.POOL_ADDRESSES - 1)
        )
        self._all_words = (1 << -(-span.size // WORD)) - 1
        self._full = 0
        self._words: dict[int, int] = {}
        self.cursor = 0
        if span.size < WORD:
            self._words[0] = _FULL ^ ((1 << span.size) - 1)

    def set(self, address: int, taken: bool) -> None:
        """Says whether an address is taken; saying it twice is fine, of one not in it as well."""
        if not self._span.first <= address <= self._span.last:
            return
        index, bit = divmod(address - self._span.first, WORD)
        word = self._words.get(index, 0)
        word = word | 1 << bit if taken else word & ~(1 << bit)
        self._words[index] = word
        if word == _FULL:
            self._full |= 1 << index
        else:
            self._full &= ~(1 << index)

    def pass_over(self, address: int) -> None:
        """Moves the cursor behind an address that was handed out."""
        self.cursor = (address - self._span.first + 1) % self._span.size

    def next(self) -> int | None:
        """The first free address from the cursor on, around the end; None: all taken."""
        index, bit = divmod(self.cursor, WORD)
        free = _lowest(~self._words.get(index, 0) & _FULL & -1 << bit)
        if free < 0:
            open_words = self._all_words & ~self._full
            index = _lowest(open_words & -1 << index + 1)
            index = index if index >= 0 else _lowest(open_words)
            if index < 0:
                return None
            free = _lowest(~self._words.get(index, 0) & _FULL)
        return self._span.first + index * WORD + free


def _lowest(bits: int) -> int:
    """Position of the lowest set bit; -1: none."""
    return (bits & -bits).bit_length() - 1
