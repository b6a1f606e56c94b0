"""What a request asks of a model, and which of the installed ones can: pure decisions, made before anything is loaded.

Whoever names no model gets one that can: the default one if that can, else the best of the others. Whoever names a
model gets that one or a refusal, which names another. What a model can is read from its file (`speech/abilities.py`).

Tools are liked and not needed: a model whose template knows none is told of them in words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from edged.chat import Ability, ChatRequest, ImagePart, RawPrompt
from edged.errors import CapabilityMissing
from edged.speech.abilities import abilities
from edged.store import ModelFile

Best: TypeAlias = Callable[[Sequence[ModelFile]], ModelFile | None]
# English text in current vocabularies, and Chinese (`local/estimate.py` learns better ones once a model runs).
_TOKENS_PER_BYTE = 0.3
_MOST_NAMED = 3
_PARAMS: dict[Ability, str] = {"vision": "messages", "infill": "suffix"}


@dataclass(frozen=True, slots=True)
class Demands:
    """What the model must be able to, one of what it must besides, what it had better, and how long the prompt is.

    `prompt_tokens` is a guess. It decides between models for whoever leaves the choice to the device, and refuses
    nobody: that is done once the tokens are counted.
    """

    makes: Literal["words", "vectors", "scores"]
    all_of: frozenset[Ability] = frozenset()
    one_of: frozenset[Ability] = frozenset()
    liked: frozenset[Ability] = frozenset()
    prompt_tokens: int = 0

    def lacking(self, file: ModelFile) -> Ability | None:
        """The first thing that `file` cannot do and must; None where it can do all."""
        able = set(abilities(file.header))
        if self.one_of and not self.one_of & able:
            return min(self.one_of)
        # The order of the alphabet puts chats and completions before what only some of their models can.
        return min(self.all_of - able, default=None)

    def suits(self, file: ModelFile) -> bool:
        """Whether it can, is good at it, and was made for prompts as long as this one."""
        if file.problem or self.lacking(file) or not self.liked <= set(abilities(file.header)):
            return False
        longest = file.header.context_tokens if file.header else None
        return longest is None or self.prompt_tokens < longest


VECTORS = Demands("vectors", one_of=frozenset({"completion", "embeddings"}), liked=frozenset({"embeddings"}))
SCORES = Demands("scores", all_of=frozenset({"rerank"}))


def demands_of(request: ChatRequest) -> Demands:
    """What a chat or a completion asks of its model."""
    needed: set[Ability] = {"chat" if request.raw_prompt is None else "completion"}
    if any(isinstance(part, ImagePart) for message in request.messages for part in message.parts):
        needed.add("vision")
    if request.suffix:
        needed.add("infill")
    has_tools = bool(request.tools) and request.tool_choice.kind != "none"
    return Demands(
        "words",
        all_of=frozenset(needed),
        liked=frozenset({"tools"}) if has_tools else frozenset(),
        prompt_tokens=_prompt_tokens(request) if request.overflow == "refuse" else 0,
    )


def chosen(default: ModelFile, installed: Sequence[ModelFile], demands: Demands, best: Best) -> ModelFile:
    """Who answers for whoever leaves it to the device; `best` picks one of several that fits into memory.

    A default model that cannot be loaded is not passed over in silence where words are wanted: it is the owner's
    choice, and its refusal says what is wrong. Raises `CapabilityMissing` where nobody can.
    """
    is_unread = default.header is None and not default.problem
    if demands.suits(default) or is_unread or (default.problem and demands.makes == "words"):
        return default
    if found := best([file for file in installed if demands.suits(file)]):
        return found
    if not default.problem and not demands.lacking(default):
        return default
    able = [file for file in installed if not file.problem and not demands.lacking(file)]
    if not able:
        raise _refusal(default, demands, installed)
    return best(able) or min(able, key=lambda file: file.size_bytes)


def check(file: ModelFile, installed: Sequence[ModelFile], demands: Demands) -> None:
    """Raises `CapabilityMissing`, with the names of others that can, where `file` is known and cannot."""
    if file.header is not None and not file.problem and demands.lacking(file):
        raise _refusal(file, demands, installed)


def _refusal(file: ModelFile, demands: Demands, installed: Sequence[ModelFile]) -> CapabilityMissing:
    lacking = demands.lacking(file)
    able = [other.name for other in installed if not other.problem and not demands.lacking(other)]
    others = f" Installed, and able to: {', '.join(able[:_MOST_NAMED])}." if able else ""
    param = _PARAMS.get(lacking, "model") if lacking else "model"
    return CapabilityMissing(f"The model {file.name} {_why(file, demands, lacking)}{others}", param=param)


def _why(file: ModelFile, demands: Demands, lacking: Ability | None) -> str:
    if demands.makes == "scores":
        return (
            "is no reranker: it cannot judge how well a document answers a query. Install one, for example a GGUF of "
            "bge-reranker-v2-m3, and name it; or compare vectors of /v1/embeddings."
        )
    if demands.makes == "vectors":
        return "is a reranker: it judges pairs of texts and makes no vectors. Use /v1/rerank, or another model."
    if file.made_for in ("vectors", "scores"):
        path = "/v1/rerank" if file.made_for == "scores" else "/v1/embeddings"
        return f"was made for {file.made_for} and writes no text. Use {path}, or another model."
    if lacking == "vision":
        return "cannot see images."
    if lacking == "infill":
        return (
            "was not trained to fill a gap in a text. Leave out suffix, or use a model that was, for example one made "
            "for code."
        )
    return (
        "has no chat template: it completes text, it was not made for conversations. Use /v1/completions, or another "
        "model."
    )


def _prompt_tokens(request: ChatRequest) -> int:
    prompts = (request.raw_prompt, *request.further_prompts)
    raw = max((_tokens(prompt) for prompt in prompts if prompt is not None), default=0)
    return raw + _tokens(request.suffix) + sum(_tokens(message.text) for message in request.messages)


def _tokens(prompt: RawPrompt) -> int:
    return int(len(prompt.encode()) * _TOKENS_PER_BYTE) if isinstance(prompt, str) else len(prompt)
