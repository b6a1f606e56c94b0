"""How long somebody may dawdle: time spends patience, bytes earn it back.

One rule for both directions: who sends a body and who reads an answer is given some seconds, loses those in which
nothing moves, and gains one for every KiB that does, up to a bound. A phone between two base stations falls silent and
catches up; who sends a byte a second runs out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

# Any link over which one would chat does far more.
LEAST_BYTES_PER_S = 1024


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long each thing may take that a client does."""

    # TLS: a round trip or two and milliseconds of arithmetic.
    handshake_s: float = 10.0
    head_s: float = 10.0
    idle_s: float = 30.0
    body_grace_s: float = 5.0
    # For who has sent much of a body already.
    body_silence_s: float = 30.0
    stall_s: float = 20.0
    # Who does nothing for so long may lose the place to somebody else, when there is no other: who has connected and
    # not asked (a client asks at once), and who has had an answer.
    silent_s: float = 1.0
    settled_s: float = 5.0
    # A client that keeps one connection for ever gets a new one now and then: a place is not a possession.
    connection_s: float = 600.0
    requests: int = 100
    # How often somebody looks; a deadline is kept that much early rather than late.
    look_s: float = 0.5

    @property
    def body(self) -> Patience:
        """For who sends a body: little at first."""
        return Patience(self.body_grace_s, self.body_silence_s)

    @property
    def reading(self) -> Patience:
        """For who reads an answer."""
        return Patience(self.stall_s, self.stall_s)


@dataclass(frozen=True, slots=True)
class Patience:
    """`left_s` of at most `most_s`."""

    left_s: float
    most_s: float

    def after(self, waited_s: float, moved_bytes: int) -> Patience:
        """What is left when in `waited_s` so many bytes have moved."""
        left_s = self.left_s - waited_s + moved_bytes / LEAST_BYTES_PER_S
        return replace(self, left_s=min(self.most_s, left_s))

    @property
    def is_over(self) -> bool:
        """Whether enough is enough."""
        return self.left_s <= 0
