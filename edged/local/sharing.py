"""System prompts of the owner's, kept ready in a model's memory: nobody waits for them to be read.

What a system prompt becomes depends on the model's template, and where it ends on the tokenizer. So nobody guesses:
each is laid out in two conversations that differ from the person's first letter on; what both begin with is shared.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from edged.chat import TextPart
from edged.errors import RequestError
from edged.framing import WireError
from edged.local.process import WorkerProcess
from edged.local.renderer import Renderer
from edged.wire import Turn

log = logging.getLogger(__name__)

# Two first words that no vocabulary begins with the same token.
_ONE, _OTHER = "a", "1"


async def share_prompts(system_prompts: Iterable[str], renderer: Renderer, process: WorkerProcess) -> None:
    """Have `process` read each of `system_prompts`, as far as the model's template takes them."""
    for text in system_prompts:
        try:
            one, other = [await renderer.render(_conversation(text, word)) for word in (_ONE, _OTHER)]
            process.share(one, other)
        except (RequestError, WireError) as error:
            log.warning("the shared prompt %.40r is not kept ready for %s: %s", text, process.name, error)


def _conversation(system_prompt: str, word: str) -> tuple[Turn, ...]:
    return (Turn("system", (TextPart(system_prompt),)), Turn("user", (TextPart(word),)))
