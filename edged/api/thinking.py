"""Whether a model shall think before it answers, and how much, as clients of OpenAI and of other servers say it.

OpenAI: `reasoning_effort` (platform.openai.com/docs/api-reference/chat). Servers of open models have words of their
own, and programs that speak to many of them pick one by the model's name or by what their owner has set: OpenRouter's
`reasoning`, Qwen's `enable_thinking`, DeepSeek's and Zhipu's `thinking`, and the template's own variable by way of
`chat_template_kwargs` as in vLLM and llama-server. So do Cherry Studio (src/renderer/src/aiCore/utils/reasoning.ts) and
pi (`thinkingFormat` in providers/openai-completions of @earendil-works/pi-ai).
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from edged.api.body import Strict
from edged.api.fields import LARGEST_COUNT, effort_of
from edged.chat import ReasoningEffort
from edged.errors import InvalidRequest

_Budget: TypeAlias = Annotated[int, Field(ge=-1, le=LARGEST_COUNT)]
Effort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class _Reasoning(Strict):
    effort: Effort | None = None
    enabled: bool | None = None
    max_tokens: _Budget | None = None


class _Switch(Strict):
    type: Literal["enabled", "disabled"]
    budget_tokens: _Budget | None = None


class _TemplateFields(Strict):
    # What templates call the switch: most the first, DeepSeek's the second.
    enable_thinking: bool | None = None
    thinking: bool | None = None


class ThinkingFields(Strict):
    """The fields that say so; where none does, the device decides."""

    reasoning_effort: Effort | None = None
    reasoning: _Reasoning = _Reasoning()
    enable_thinking: bool | None = None
    thinking: _Switch | None = None
    chat_template_kwargs: _TemplateFields = _TemplateFields()
    # A thought of so many tokens is ended; -1 lets it go on. llama-server's two names, and Qwen's.
    reasoning_budget_tokens: _Budget | None = None
    thinking_budget_tokens: _Budget | None = None
    thinking_budget: _Budget | None = None

    def thinks(self) -> bool | None:
        """Whether to think at all; None where nothing is said. A switch goes before an effort, which says how much.

        Raises `InvalidRequest` where two switches say different things.
        """
        switches = {
            "reasoning.enabled": self.reasoning.enabled,
            "enable_thinking": self.enable_thinking,
            "thinking": None if self.thinking is None else self.thinking.type == "enabled",
            "chat_template_kwargs.enable_thinking": self.chat_template_kwargs.enable_thinking,
            "chat_template_kwargs.thinking": self.chat_template_kwargs.thinking,
            **{field: False for field, budget in self._budgets().items() if budget == 0},
        }
        wishes = {field: wish for field, wish in switches.items() if wish is not None}
        if len(set(wishes.values())) > 1:
            fields = " and ".join(wishes)
            raise InvalidRequest(f"{fields} say different things; send one of them.", param=next(iter(wishes)))
        return next(iter(wishes.values()), thinks_by(self.reasoning_effort or self.reasoning.effort))

    def thought_tokens(self) -> int | None:
        """How long a thought may be; None where nothing is said. Raises `InvalidRequest` where two budgets differ."""
        budgets = self._budgets()
        if len(set(budgets.values())) > 1:
            raise InvalidRequest(
                f"{' and '.join(budgets)} say different things; send one of them.", param=next(iter(budgets))
            )
        budget = next(iter(budgets.values()), -1)
        return None if budget < 0 else budget

    def _budgets(self) -> dict[str, int]:
        """Those that were said, by field."""
        said = {
            "reasoning_budget_tokens": self.reasoning_budget_tokens,
            "thinking_budget_tokens": self.thinking_budget_tokens,
            "thinking_budget": self.thinking_budget,
            "thinking.budget_tokens": self.thinking.budget_tokens if self.thinking else None,
            "reasoning.max_tokens": self.reasoning.max_tokens,
        }
        return {field: budget for field, budget in said.items() if budget is not None}

    def effort(self) -> ReasoningEffort | None:
        """How much, to a model that knows degrees; None where nothing is said."""
        return effort_of(self.reasoning_effort or self.reasoning.effort)


def thinks_by(effort: str | None) -> bool | None:
    """What an effort says of thinking at all; None where it says nothing."""
    return None if effort is None else effort not in ("none", "minimal")
