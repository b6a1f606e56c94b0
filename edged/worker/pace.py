"""How many prompt tokens a step may read: as many as keep it short, judged by the steps that went before.

Whoever is being shown words notices a long step as a gap, and nobody can be cancelled inside one. A step is therefore
planned to take at most a second when only prompts are read, and a few undisturbed steps' time while somebody is being
shown words. Rates are learnt from the steps themselves, so they follow heat and neighbours.
"""

from __future__ import annotations

# A cancelled or stopped request frees its slot within one step, and the daemon takes 10 s of silence for a hang.
LONGEST_STEP_S = 1.0
# A gap of up to six undisturbed steps still reads as flowing text; one of them is the decode that happens anyway.
PREFILL_STEPS_WHILE_DECODING = 5.0
# Before anything was measured: three seconds at the slowest published rate that we know of (a 30B mixture of experts on
# a Pi 5 reads 10.9 tokens/s, github.com/geerlingguy/ai-benchmarks issue 47), and long enough to measure by.
FIRST_CHUNK_TOKENS = 32
# Below this a chunk's cost is mostly the fixed cost of a step, and reading would never end.
SMALLEST_CHUNK_TOKENS = 8
_NEWEST_WEIGHT = 0.3


class Pace:
    """Learns step costs; answers `chunk_tokens`."""

    def __init__(self) -> None:
        self._decode_step_s: float | None = None
        self._prompt_token_s: float | None = None

    def observe(self, prompt_tokens: int, step_s: float) -> None:
        """Learn from a finished step that read `prompt_tokens` prompt tokens and took `step_s`."""
        if prompt_tokens == 0:
            self._decode_step_s = _blend(self._decode_step_s, step_s)
        elif prompt_tokens >= SMALLEST_CHUNK_TOKENS:
            reading_s = max(step_s - (self._decode_step_s or 0.0), step_s / 2)
            self._prompt_token_s = _blend(self._prompt_token_s, reading_s / prompt_tokens)

    def chunk_tokens(self, *, has_decoding: bool, most: int) -> int:
        """Prompt tokens for the next step, between `SMALLEST_CHUNK_TOKENS` and `most`."""
        if self._prompt_token_s is None:
            return min(FIRST_CHUNK_TOKENS, most)
        target_s = LONGEST_STEP_S
        if has_decoding and self._decode_step_s is not None:
            target_s = min(target_s, PREFILL_STEPS_WHILE_DECODING * self._decode_step_s)
        return min(max(int(target_s / self._prompt_token_s), SMALLEST_CHUNK_TOKENS), most)


def _blend(old: float | None, new: float) -> float:
    return new if old is None else old + _NEWEST_WEIGHT * (new - old)
