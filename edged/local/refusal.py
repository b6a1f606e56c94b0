"""What llama.cpp says when it refuses a file, as the error that it means: one that it does not know, or cannot use.

Its sentences are in src/llama-model.cpp and src/llama-vocab.cpp. What they speak of is refused before a load where its
name is known not to be known (`gguf/supported.py`); what is left are names that it has and cannot build.
"""

from __future__ import annotations

import re

from edged.errors import EdgedError, ModelInvalid, ModelUnsupported, WorkerStarved
from edged.gguf.supported import unknown

_UNKNOWN = re.compile(r"(?:unknown|unsupported) (model architecture|tokenizer|pre-tokenizer type): '([^'\n]*)'")


def refused(model: str, message: str, *, is_starved: bool = False) -> EdgedError:
    """The error for the model called `model`, of which llama.cpp last said `message`, for want of memory or not."""
    if found := _UNKNOWN.search(message):
        what, name = found.groups()
        return ModelUnsupported(
            f"The file of model {model} cannot be loaded: {unknown(f'its {what} is {name!r}')}", param="model"
        )
    kind = WorkerStarved if is_starved else ModelInvalid
    return kind(f"llama.cpp could not load the model {model}: {message}")
