"""What may come next, looked up in what was said before: an answer that quotes its prompt goes on as the prompt did.

    text     … m a k e s   i t   s o . … w h a t   m a k e s
                        └ proposed ┘               └ matched ┘

Of the places where the last three tokens stood before, the one that agrees furthest back is gone on from; of several,
the latest. They are found as compressors find theirs: a table leads from three tokens to where they ended last, and a
chain from there to the time before. A token costs one entry, however long the text is.

A pure function of the tokens: it proposes, and knows nothing of whether that pays (`drafts.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

# Two tokens stand together by chance too often, four miss the first token of a quotation. llama.cpp looks up one to
# four and then asks how often each continuation came (common/ngram-cache.cpp); we ask how far the match goes back.
SHORTEST_MATCH_TOKENS = 3
# Further back an agreement makes no continuation likelier.
LONGEST_MATCH_TOKENS = 32
# Places that are compared; three frequent tokens may have stood in thousands.
_MOST_PLACES = 16


class Lookup:
    """Follows one growing text. The list that it is given stays its owner's, who only ever appends to it."""

    def __init__(self, tokens: Sequence[int], expected: Sequence[int] = ()) -> None:
        """`expected` is text that may come, as the caller thinks; it is searched as if it stood before `tokens`."""
        self._tokens = tokens
        # Nothing matches or is proposed across the border between the two.
        self._text: list[int | None] = [*expected, None] if expected else []
        self._border = len(self._text)
        self._latest: dict[tuple[int | None, ...], int] = {}
        self._before = [0]  # by where three tokens end: where the same three ended before, 0 for nowhere
        for end in range(1, self._border + 1):
            self._note(end)

    def propose(self, most: int) -> tuple[list[int], int]:
        """Up to `most` tokens that may come next, and how many tokens before them agree; none without a match."""
        for token in self._tokens[len(self._text) - self._border :]:
            self._text.append(token)
            self._note(len(self._text))
        place, matched = self._longest()
        return (self._following(place, most), matched) if matched else ([], 0)

    def _note(self, end: int) -> None:
        """The token before `end` is part of the text now."""
        if end < SHORTEST_MATCH_TOKENS:
            self._before.append(0)
            return
        key = tuple(self._text[end - SHORTEST_MATCH_TOKENS : end])
        self._before.append(self._latest.get(key, 0))
        self._latest[key] = end

    def _longest(self) -> tuple[int, int]:
        """Where the best match ends, and its length; 0 for none."""
        best = (0, 0)
        place = self._before[len(self._text)]
        for _ in range(_MOST_PLACES):
            if not place:
                break
            matched = self._agreement(place)
            if matched > best[1]:
                best = (place, matched)
            if matched >= LONGEST_MATCH_TOKENS:
                break
            place = self._before[place]
        return best

    def _agreement(self, place: int) -> int:
        """How many tokens before `place` are those at the end of the text."""
        text, end = self._text, len(self._text)
        most = min(place, LONGEST_MATCH_TOKENS)
        if text[place - most : place] == text[end - most : end]:
            return most
        return next(count for count in range(most) if text[place - 1 - count] != text[end - 1 - count])

    def _following(self, place: int, most: int) -> list[int]:
        """What followed there; where that is the end of the text, what is proposed goes on as the text does."""
        following: list[int] = []
        for index in range(place, place + most):
            token = self._text[index] if index < len(self._text) else following[index - len(self._text)]
            if token is None:
                break
            following.append(token)
        return following
