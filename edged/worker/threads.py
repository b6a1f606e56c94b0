"""How many threads the next step runs on: as many as make it quick now, with whatever else the machine has to do.

Threads of one step wait for each other some hundred times. One that loses its core to a neighbour stops them all, and
those that wait burn the cores that they wait on: two threads and one busy neighbour on two cores made 15 tokens/s of
47, one thread kept 27. So the number follows. Nothing is calculated: a change is tried for a few steps and kept only if
the steps became quicker.

    undisturbed ── first steps: is a smaller number as quick? (a Pi 5's memory is busy with two of its four cores)
    neighbours  ── as many fewer as cores are taken, unless that is clearly slower
    free again  ── back, if that is quicker

No clock, no files: seconds and the neighbours' share are handed in.
"""

from __future__ import annotations

import math
from collections import deque
from statistics import fmean, median

# Steps of a trial: enough for a median that ignores one late step. One that is very late ends the trial.
TRIAL_STEPS = 4
# Steps that tell how it is now, before something else is tried.
_JUDGED_STEPS = 3
# A trial must be worth it by more than what single steps differ in.
_WORTH = 0.95
# Beside neighbours fewer need not be quicker: two threads that share two cores with two loops make a step in 30 ms for
# a while, as one does, and then one in 2.7 s after the other (`benchmarks/LOG.md`). Undisturbed, two are 1.4 times one.
_BESIDE_WORTH = 1.4
_HOPELESS = 2.0
# Steps until the next try, doubled by each that was in vain, so that vain ones cost under a per cent.
_FIRST_WAIT_STEPS = 16
_LONGEST_WAIT_STEPS = 1024
# A core counts as taken when neighbours use most of it, as free again when they hardly do.
_TAKEN_CORES = 0.6
_FREE_CORES = 0.3
# So much slower than the best that this many sequences ever had, steps are disturbed by something unseen.
_DISTURBED = 2.0
_REMEMBERED = 8


class Threads:
    """Decides `now`. `settled` is the number that was best while nothing disturbed; None until that is known."""

    def __init__(self, most: int, settled: int | None = None) -> None:
        """Use up to `most` threads; `settled` is what an earlier run found out."""
        self._most = most
        self.settled = min(settled, most) if settled else (1 if most == 1 else None)
        self.now = self.settled or most
        self._best_s: dict[int, float] = {}
        self._slowness: dict[int, deque[float]] = {}
        self._before: int | None = None  # the number that a trial is measured against
        self._taken = 0
        self._wait_steps = self._patience_steps = _FIRST_WAIT_STEPS
        self._unsettled = self._candidates() if self.settled is None else []

    def decoding(self, sequences: int) -> int:
        """Threads for a step that only decodes.

        Of several sequences every weight is used several times: that is arithmetic, and wants all cores again.
        """
        return self._most if sequences > 1 and self._is_calm else self.now

    @property
    def reading(self) -> int:
        """Threads for a step that reads prompts: that is arithmetic, and wants every core that nobody else has.

        Measured with both cores busy: two threads read 10 tokens/s, one 47 to 60 (`benchmarks/LOG.md`).
        """
        return max(1, self._most - self._taken)

    @property
    def _is_calm(self) -> bool:
        return self._before is None and self.now == self.settled

    def look_around(self, neighbour_cores: float) -> None:
        """Hear how many cores others use at the moment."""
        over, under = neighbour_cores - self._taken, self._taken - neighbour_cores
        if over >= _TAKEN_CORES or under >= 1 - _FREE_CORES:
            self._taken = max(0, round(neighbour_cores))
            self._wait_steps, self._patience_steps = _JUDGED_STEPS, _FIRST_WAIT_STEPS
            self._seen(self.now).clear()  # what it was like before says nothing of now
            if not self._taken and self.settled is None:
                # Nothing was found out but what is best beside neighbours: the search begins again, with all.
                self.now, self._before, self._unsettled = self._most, None, self._candidates()
                self._slowness.clear()

    def observe(self, decoding: int, step_s: float) -> None:
        """Learn from a step that only decoded."""
        if decoding == 1 or not self._is_calm:
            best_s = self._best_s[decoding] = min(step_s, self._best_s.get(decoding, step_s))
            self._seen(self.now).append(step_s / best_s)
        elif not self._taken:
            return
        self._wait_steps -= 1
        if self._before is not None:
            self._judge()
        elif self._wait_steps <= 0 or self._is_crowded:
            wanted = self._wanted()
            if wanted is not None and wanted != self.now:
                self._try(wanted)

    def _wanted(self) -> int | None:
        """The number to try next, None while there is nothing to try."""
        usual = self.settled or self._most
        if self._taken:
            return self._beside
        if self._unsettled:
            return self._unsettled.pop(0)
        if self.settled is None:
            self.settled = self.now
        if self.now < usual:
            return usual
        is_disturbed = median(self._seen(self.now) or [1.0]) >= _DISTURBED
        return self.now - 1 if is_disturbed and self.now > 1 else None

    @property
    def _beside(self) -> int:
        """How many the neighbours leave room for."""
        return max(1, min(self.settled or self._most, self._most - self._taken))

    @property
    def _is_crowded(self) -> bool:
        """Whether neighbours cost more than a smaller number did, or than anything undisturbed would.

        The mean, because one step in a hundred times its time is what happens here and what must not happen twice.
        """
        if not self._taken or not (seen := self._seen(self.now)):
            return False
        return fmean(seen) > median(self._seen(self._beside) or [_DISTURBED])

    def _try(self, wanted: int) -> None:
        self._before, self.now = self.now, wanted
        self._seen(wanted).clear()

    def _judge(self) -> None:
        """End a trial that has been long enough or is hopeless, one way or the other."""
        assert self._before is not None
        seen = self._seen(self.now)
        typical, worth = (fmean, _BESIDE_WORTH) if self._taken else (median, _WORTH)
        before = typical(self._seen(self._before) or [math.inf])
        is_hopeless = seen[-1] > _HOPELESS * before
        if len(seen) < TRIAL_STEPS and not is_hopeless:
            return
        if not is_hopeless and median(seen) < worth * before:
            self._patience_steps = _FIRST_WAIT_STEPS
        else:
            self.now = self._before
            if not self._unsettled:
                self._patience_steps = min(2 * self._patience_steps, _LONGEST_WAIT_STEPS)
        self._before, self._wait_steps = None, self._patience_steps

    def _candidates(self) -> list[int]:
        """Which smaller numbers are worth a try on a machine that nobody disturbs: three quarters, half."""
        return sorted({max(1, self._most * 3 // 4), max(1, self._most // 2)} - {self._most}, reverse=True)

    def _seen(self, threads: int) -> deque[float]:
        return self._slowness.setdefault(threads, deque(maxlen=_REMEMBERED))


class Ceilings:
    """A choice for every number of threads that the daemon ever allowed: what steps cost beside another model is not
    what they cost alone. `whole` is the choice with all that there are, and the only one to find out how many are best.
    """

    def __init__(self, most: int, settled: int | None = None) -> None:
        """As for `Threads`; until `allow` says otherwise all may be used."""
        self._most = most
        self.whole = self.now = Threads(most, settled)
        self._choices = {most: self.whole}
        self.is_free = True

    def allow(self, count: int) -> None:
        """Use at most so many from the next step on. At 0 others have all: `is_free` is false, and steps take one."""
        self.is_free = count >= self._most
        count = max(1, min(count, self._most))
        if count not in self._choices:
            self._choices[count] = Threads(count, min(self.whole.settled or count, count))
        self.now = self._choices[count]
