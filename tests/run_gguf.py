"""`python -m tests.run_gguf FILE`: loads a model and computes with it, as a worker would.

Ends with 0, or with 3 where llama.cpp refuses it in words; anything else is a file that the validator should refuse.
"""

from __future__ import annotations

import resource
import sys

from edged.worker.bindings import EngineError
from edged.worker.confine import confine
from edged.worker.context import Context
from edged.worker.engine import DecodeFailed, Row
from edged.worker.model import Model
from edged.worker.vectors import VectorContext

_MOST_BYTES = 8 * 2**30
_REFUSED = 3


def main() -> int:
    """Load the file, and read some tokens with it."""
    confine()
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
    try:
        model = Model(sys.argv[1], repacks=False)
        if model.is_for_vectors:
            VectorContext(model, context_tokens=64, threads=1)
            return 0
        context = Context(model, context_tokens=64, sequences=1, threads=1)
        tokens = model.tokenize("Hello, you", parse_special=True, add_special=True)
        known = [token for token in tokens if token < model.vocabulary_tokens][:16] or [0]
        context.decode([Row(token, place, 0, place == len(known) - 1) for place, token in enumerate(known)])
        for token in range(model.vocabulary_tokens):
            model.piece(token)
    except (EngineError, DecodeFailed) as error:
        print(error, file=sys.stderr)
        return _REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
