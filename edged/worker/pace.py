"""How many prompt tokens a step may read: as many as keep it short, judged by the steps that went before.

    nobody is shown words      a step may take a second and a half: nobody can be cancelled inside one
    somebody is shown words    a step is a gap in their text: it may take `longest_gap_steps` undisturbed steps, a
                               second at most

An undisturbed step is one that only decodes, for as many sequences as decode now; while a long prompt is read one is
put in between now and then, so that the measure stays true. Costs come from a table of measured steps (`costs.py`).

While nobody is shown words the rows of a step are a power of two: 2,048 tokens of the 0.5B shape were read in 227 a
second in steps of 160 to 256 rows as they fitted a second, in 240 in steps of 128 or 256, and in 246 in steps of 512,
which take two to three seconds (`benchmarks/LOG.md`). Deep in a prompt 256 rows take up to 1.3 s there, and a row of
128 takes an eighth more than one of 256.

No clock, no model: seconds are handed in.
"""

from __future__ import annotations

from collections import deque

from edged.shares import CAREFUL_SHARE, SMALLEST_CHUNK_TOKENS
from edged.worker.costs import SIZES, StepCosts, floor

# A cancelled or stopped request frees its slot within one step, and the daemon takes 10 s of silence for a hang.
LONGEST_STEP_S = 1.0
# While nobody is shown words: quicker by the rows that fit, and a newcomer waits half a second longer at most.
LONGEST_READING_STEP_S = 1.5
# A gap of up to six undisturbed steps still reads as flowing text.
LONGEST_GAP_STEPS = 6.0
# Before anything was measured: three seconds at the slowest published rate that we know of (a 30B mixture of experts on
# a Pi 5 reads 10.9 tokens/s, github.com/geerlingguy/ai-benchmarks issue 47), and long enough to measure by.
FIRST_CHUNK_TOKENS = 32
# After so many steps with prompts one without: under one per cent of the time at six undisturbed steps each.
PLAIN_STEP_EVERY = 32
# The slack of `CAREFUL_SHARE` is given up where it would cost so much of the reading's speed: tiles are steep.
_WORTH_THE_SLACK = 1.25
# Of a prompt's end at most this many times its rows are read: what costs less with more was not measured right.
_MOST_READ_AGAIN = 2
# Nobody notices less, and steps of the smallest models differ by more than their sizes say.
_WORTH_READING_AGAIN_S = 0.01
# An undisturbed step is known from two: one may have been late. Of the last five the second quickest counts.
_PLAIN_STEPS = 2
_RECENT = 5


class Pace:
    """Learns step costs; answers `chunk_tokens`."""

    def __init__(self, longest_gap_steps: float = LONGEST_GAP_STEPS) -> None:
        self._longest_gap_steps = longest_gap_steps
        self._plain: dict[int, deque[float]] = {}  # only decoding, by how many do
        self.costs = StepCosts()
        self._mixed_since_plain = 0

    def observe(self, *, decoding: int, prompt_tokens: int, depth_tokens: int, step_s: float) -> None:
        """Learn from a step: its decoding sequences, the prompt tokens that it read at which depth, what it took."""
        rows = decoding + prompt_tokens
        if rows == 0 or step_s <= 0:
            return
        if prompt_tokens:
            self._mixed_since_plain += 1
        else:
            self._plain.setdefault(decoding, deque(maxlen=_RECENT)).append(step_s)
            self._mixed_since_plain, depth_tokens = 0, 0
        self.costs.observe(rows, depth_tokens, step_s, decoding=decoding)

    def chunk_tokens(self, *, decoding: int, depth_tokens: int, most: int) -> int:
        """Prompt tokens for a step beside `decoding` sequences, the deepest prompt standing at `depth_tokens`.

        The batch has at most `most` rows. 0 asks for a step that only decodes, to measure by; never if nobody decodes.
        """
        if decoding and self._is_plain_step_due(decoding):
            return 0
        expected_s = self.costs.expected_s(depth_tokens, decoding=decoding)
        sizes = [size for size in SIZES if decoding + SMALLEST_CHUNK_TOKENS <= size <= most]
        if not expected_s or not sizes:
            return min(FIRST_CHUNK_TOKENS, max(most - decoding, 0))

        def speed(size: int) -> tuple[float, int]:
            return (size - decoding) / expected_s[size], size

        def best_within(bound_s: float) -> int:
            return max((size for size in sizes if expected_s[size] <= bound_s), key=speed, default=sizes[0])

        bound_s = self._bound_s(decoding)
        if not decoding:
            # Nobody watches, and every step costs a little beside its rows.
            even = [size for size in sizes if size.bit_count() == 1]
            return max((size for size in even if expected_s[size] <= bound_s), default=sizes[0])
        careful, bold = best_within(CAREFUL_SHARE * bound_s), best_within(bound_s)
        return (bold if speed(bold)[0] > _WORTH_THE_SLACK * speed(careful)[0] else careful) - decoding

    def read_again(self, pending: int, known: int) -> int:
        """How many of `known` tokens to read again before the last `pending` of a prompt while nobody decodes.

        More rows can be quicker: below 64 llama.cpp's attention goes row by row, from there on in tiles. Behind 2,000
        tokens 51 rows took 0.58 s, and 64 about 0.5.
        """
        expected_s = self.costs.expected_s(known)
        sizes = [size for size in SIZES if pending <= size <= min(_MOST_READ_AGAIN * pending, pending + known)]
        if not expected_s or not sizes:
            return 0
        best = min(sizes, key=lambda size: (expected_s[size], size))
        below, above = floor(pending), sizes[0]
        part = (pending - below) / (above - below) if above > below else 0.0
        usual_s = expected_s[below] + part * (expected_s[above] - expected_s[below])
        is_worth_it = expected_s[best] < min(CAREFUL_SHARE * usual_s, usual_s - _WORTH_READING_AGAIN_S)
        return best - pending if is_worth_it else 0

    def _is_plain_step_due(self, decoding: int) -> bool:
        """The measure is missing or old."""
        is_known = len(self._plain.get(decoding, ())) >= _PLAIN_STEPS
        return not is_known or self._mixed_since_plain >= PLAIN_STEP_EVERY

    def _bound_s(self, decoding: int) -> float:
        if not decoding:
            return LONGEST_READING_STEP_S
        undisturbed_s = sorted(self._plain[decoding])[1]
        return min(LONGEST_STEP_S, self._longest_gap_steps * undisturbed_s)
