"""How large a model's context is made: sequence numbers, rows, outputs. The worker's rule, on which the fit counts.

cells      tokens that all sequences share
slots      sequence numbers: one for each that runs, the others for prefixes that are kept in the cells
rows       tokens of one step
outputs    of these, those whose logits are asked for
"""

from __future__ import annotations

# Rows of one llama_decode. Larger batches cost compute-buffer memory and gain nothing on boards, where a step is
# bounded by time anyway (`worker/pace.py`); it is also llama.cpp's own default for the physical batch.
BATCH_TOKENS = 512
# Guessed ahead, in one sequence at a time. Eight rows of the 0.5B shape take as long as three of one on two x86 cores;
# further rows win ever less there.
MOST_DRAFTED_TOKENS = 8
# Sequence numbers for cached prefixes, per sequence that may run. A number costs a row of logits: on the 0.5B shape of
# 151,936 tokens 8 numbers take 684 MiB in all, 24 take 695 and 64 take 719; a step of eight rows takes as long.
_CACHED_PER_SEQUENCE = 2
# With a window or a recurrent state each number costs another of these (18 MiB on the Qwen3.5-0.8B shape), so there are
# as many as run, one for the owner's prompts and one for what somebody begins with; the rest is kept as snapshots.
_SPARE_SLOTS = 2


def slots_of(sequences: int, *, is_cuttable: bool) -> int:
    """Sequence numbers where so many sequences may run. `is_cuttable`: no layer has a window or a state."""
    return sequences * (1 + _CACHED_PER_SEQUENCE) if is_cuttable else sequences + _SPARE_SLOTS


def outputs_of(sequences: int, slots: int, rows: int) -> int:
    """Outputs of one step: one per sequence and drafted token.

    llama.cpp's default reserves logits for a whole batch, 300 MiB on a 0.5B model. Fewer than slots it must not be:
    llama.cpp plans its largest graph with one each and aborts.
    """
    return max(slots, min(sequences + MOST_DRAFTED_TOKENS, rows))


# Texts that are made vectors of, where a text may be read in portions. From 64 rows on llama.cpp's attention on a CPU
# works in tiles and rounds differently (GGML_FA_TILE_Q in ggml-cpu/common.h): by a thousandth where weights are
# quantised. Below, a text gets the same vector bit for bit alone, among others, or in portions. Small processors read
# no faster in larger steps.
_MOST_VECTOR_ROWS = 63
# Every token is an output there, and llama.cpp computes the logits of every output, twice in memory: 0.6 MB each for a
# vocabulary of 152,000.
_LOGITS_BYTES = 32 * 2**20
_FEWEST_VECTOR_ROWS = 16
_SMALLEST_VECTOR_CONTEXT_TOKENS = 512


def vector_rows(vocabulary_tokens: int) -> int:
    """Rows of one step of a model that makes vectors, where a text may be read in portions."""
    return min(max(_LOGITS_BYTES // (4 * vocabulary_tokens), _FEWEST_VECTOR_ROWS), _MOST_VECTOR_ROWS)


def vector_cells(longest_tokens: int) -> int:
    """Tokens that its context has room for, for texts of this length: doublings, so that it is seldom made anew."""
    return max(_SMALLEST_VECTOR_CONTEXT_TOKENS, 1 << (longest_tokens - 1).bit_length())
