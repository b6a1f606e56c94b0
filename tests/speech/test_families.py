"""Which family a chat template belongs to: every template of the engine's source package is listed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from benchmarks import engine
from edged.chat import Tool
from edged.speech.families import GENERIC, family_named, family_of
from edged.worker.template import _Generation
from tests.speech.test_reply import read

TOOLS = (Tool("f"),)
ARGUMENTS = {"city": 'the "old" town', "days": 3, "near": ["a", "b"], "exact": True}
TOOL = Tool(
    "weather",
    parameters=json.dumps(
        {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "where"},
                "days": {"type": "integer", "description": "how many"},
                "near": {"type": "array", "items": {"type": "string"}, "description": "what"},
                "exact": {"type": "boolean", "description": "whether"},
            },
            "required": ["city"],
        }
    ),
)

# Template of llama.cpp's models/templates: its family, and what opens a thought.
TEMPLATES = {
    "Apertus-8B-Instruct.jinja": ("apertus", ""),
    "Apriel-1.6-15b-Thinker-fixed.jinja": ("tool-calls", "Here are my reasoning steps:\n"),
    "Bielik-11B-v3.0-Instruct.jinja": ("hermes", "<think>"),
    "ByteDance-Seed-OSS.jinja": ("seed", "<seed:think>"),
    "Cohere2MoE.jinja": ("command", "<|START_THINKING|>"),
    "CohereForAI-c4ai-command-r-plus-tool_use.jinja": ("generic", ""),
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use.jinja": ("command", "<|START_THINKING|>"),
    "GLM-4.6.jinja": ("glm", "<think>"),
    "GLM-4.7-Flash.jinja": ("glm", "<think>"),
    "GigaChat3-10B-A1.8B.jinja": ("generic", ""),
    "GigaChat3.1-10B-A1.8B.jinja": ("generic", ""),
    "HuggingFaceTB-SmolLM3-3B.jinja": ("generic", "<think>"),
    "Kimi-K2-Instruct.jinja": ("kimi", ""),
    "Kimi-K2-Thinking.jinja": ("kimi", "<think>"),
    "Kimi-K3.jinja": ("generic", ""),
    "LFM2-8B-A1B.jinja": ("lfm2", ""),
    "LFM2.5-8B-A1B.jinja": ("lfm2", "<think>"),
    "LFM2.5-Instruct.jinja": ("lfm2", "<think>"),
    "MiMo-VL.jinja": ("hermes", ""),
    "MiniMax-M1.jinja": ("tool-calls-lines", ""),
    "MiniMax-M2.jinja": ("minimax-m2", "<think>"),
    "MiniMax-M3.jinja": ("generic", "<mm:think>"),
    "Mistral-Small-3.2-24B-Instruct-2506.jinja": ("mistral", ""),
    "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16.jinja": ("qwen-xml", "<think>"),
    "NVIDIA-Nemotron-Nano-v2.jinja": ("nemotron-v2", "<think>"),
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use.jinja": ("hermes", ""),
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use.jinja": ("hermes", ""),
    "Qwen-QwQ-32B.jinja": ("hermes", "<think>"),
    "Qwen-Qwen2.5-7B-Instruct.jinja": ("hermes", ""),
    "Qwen-Qwen3-0.6B.jinja": ("hermes", "<think>"),
    "Qwen3-Coder.jinja": ("qwen-xml", ""),
    "Qwen3.5-4B.jinja": ("qwen-xml", "<think>"),
    "Reka-Edge.jinja": ("hermes", "<think>"),
    "Spark2.5.jinja": ("glm", "<think>"),
    "StepFun3.5-Flash.jinja": ("qwen-xml", "<think>"),
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B.jinja": ("deepseek-r1", "<think>"),
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B.jinja": ("deepseek-r1", "<think>"),
    "deepseek-ai-DeepSeek-V3.1.jinja": ("deepseek", "<think>"),
    "deepseek-ai-DeepSeek-V3.2.jinja": ("dsml", "<think>"),
    "deepseek-ai-DeepSeek-V4-Flash-0731.jinja": ("dsml-v4", "<think>"),
    "deepseek-ai-DeepSeek-V4.jinja": ("dsml-v4", "<think>"),
    "fireworks-ai-llama-3-firefunction-v2.jinja": ("functools", ""),
    "google-gemma-2-2b-it.jinja": ("generic", ""),
    "google-gemma-4-31B-it-interleaved.jinja": ("gemma", "<|channel>thought"),
    "google-gemma-4-31B-it.jinja": ("gemma", "<|channel>thought"),
    "ibm-granite-granite-3.3-2B-Instruct.jinja": ("granite", "<think>"),
    "ibm-granite-granite-4.0.jinja": ("hermes", ""),
    "ibm-granite-granite-4.1.jinja": ("hermes", ""),
    "inclusionai-ling-3.0-flash.jinja": ("glm", "<think>"),
    "llama-cpp-deepseek-r1.jinja": ("deepseek-r1", "<think>"),
    "llama-cpp-rwkv-world.jinja": ("generic", "<think>"),
    "meetkai-functionary-medium-v3.1.jinja": ("functionary", ""),
    "meetkai-functionary-medium-v3.2.jinja": ("generic", ""),
    "meta-llama-Llama-3.1-8B-Instruct.jinja": ("llama", ""),
    "meta-llama-Llama-3.2-3B-Instruct.jinja": ("llama", ""),
    "meta-llama-Llama-3.3-70B-Instruct.jinja": ("llama", ""),
    "microsoft-Phi-3.5-mini-instruct.jinja": ("generic", ""),
    "mistralai-Ministral-3-14B-Reasoning-2512.jinja": ("mistral", "[THINK]"),
    "mistralai-Mistral-Nemo-Instruct-2407.jinja": ("mistral-list", ""),
    "moonshotai-Kimi-K2.jinja": ("kimi", ""),
    "muse-glimmer.jinja": ("generic", ""),
    "openai-gpt-oss-120b.jinja": ("harmony", ""),
    "openbmb-MiniCPM5-1B.jinja": ("minicpm", "<think>"),
    "poolside-Laguna-S-2.1.jinja": ("glm", "<think>"),
    "poolside-Laguna-XS-2.1.jinja": ("glm", "<think>"),
    "poolside-Laguna-XS.2.jinja": ("glm", "<think>"),
    "tencent-Hy3.jinja": ("generic", ""),
    "unsloth-Apriel-1.5.jinja": ("tool-calls", ""),
    "unsloth-mistral-Devstral-Small-2507.jinja": ("mistral", ""),
    "upstage-Solar-Open-100B.jinja": ("generic", ""),
}


@pytest.fixture(scope="session")
def templates() -> Path:
    """llama.cpp's templates; skips where the source package cannot be had."""
    try:
        folder = engine.source() / "vendor" / "llama.cpp" / "models" / "templates"
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"the engine's source package is not here: {error}")
    return folder


def test_every_template_belongs_to_a_family(templates: Path) -> None:
    found = {}
    for file in sorted(templates.glob("*.jinja")):
        family = family_of(file.read_text())
        found[file.name] = (family.name, family.thought.open if family.thought else "")
    assert found == TEMPLATES


def test_a_template_that_knows_nothing_is_generic_and_without_tools_nothing_is_read() -> None:
    assert family_of("{{ messages }}") == GENERIC
    assert not GENERIC.reads(())
    assert GENERIC.reads(TOOLS)
    assert family_of("{{ '</think>' }}").reads(())


def test_phi_4_mini_is_known_by_its_tools() -> None:
    source = "{{ '<|' + message['role'] + '|>' + message['content'] + '<|tool|>' + message['tools'] + '<|/tool|>' }}"
    assert family_of(source).name == "phi"


def test_a_prompt_opens_a_thought() -> None:
    qwen = family_named("hermes", "<think>")
    assert qwen.opens_thought("<|im_start|>assistant\n<think>\n")
    assert not qwen.opens_thought("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert not family_named("hermes").opens_thought("<think>")
    assert family_named("harmony").opens_thought("<|start|>assistant<|channel|>analysis<|message|>")
    assert not family_named("harmony").opens_thought("<|start|>assistant")


# What each of these templates lays out is read back: a thought where the template takes one, words, a call.
ROUND_TRIPS = [
    "Qwen-Qwen3-0.6B.jinja",
    "Qwen-Qwen2.5-7B-Instruct.jinja",
    "Qwen3-Coder.jinja",
    "Qwen3.5-4B.jinja",
    "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16.jinja",
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use.jinja",
    "ibm-granite-granite-4.0.jinja",
    "ByteDance-Seed-OSS.jinja",
    "GLM-4.6.jinja",
    "GLM-4.7-Flash.jinja",
    "google-gemma-4-31B-it.jinja",
    "LFM2.5-8B-A1B.jinja",
    "MiniMax-M2.jinja",
    "deepseek-ai-DeepSeek-V3.1.jinja",
    "deepseek-ai-DeepSeek-V3.2.jinja",
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B.jinja",
    "mistralai-Mistral-Nemo-Instruct-2407.jinja",
    "Mistral-Small-3.2-24B-Instruct-2506.jinja",
    "mistralai-Ministral-3-14B-Reasoning-2512.jinja",
    "meta-llama-Llama-3.2-3B-Instruct.jinja",
    "openai-gpt-oss-120b.jinja",
    "moonshotai-Kimi-K2.jinja",
    "NVIDIA-Nemotron-Nano-v2.jinja",
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use.jinja",
    "meetkai-functionary-medium-v3.1.jinja",
    "openbmb-MiniCPM5-1B.jinja",
]


@pytest.mark.parametrize("name", ROUND_TRIPS)
def test_a_call_that_a_template_lays_out_is_read_back(templates: Path, name: str) -> None:
    source = (templates / name).read_text()
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
    )
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False)
    environment.filters["from_json"] = json.loads
    environment.globals |= {"strftime_now": lambda format: "now", "raise_exception": _refuse}
    template = environment.from_string(source)
    function = {"name": "weather", "arguments": ARGUMENTS}
    call = {"id": "abcdefgh9", "type": "function", "function": function}
    asked = [{"role": "user", "content": "Rain?"}]
    answer = {"role": "assistant", "content": "", "tool_calls": [call]}
    tool = {"name": "weather", "description": "", "parameters": json.loads(TOOL.parameters)}
    names = {
        "tools": [{"type": "function", "function": tool}],
        "bos_token": "",
        "eos_token": "",
        "enable_thinking": True,
    }
    prompt = template.render(messages=asked, add_generation_prompt=True, **names)
    whole = template.render(messages=[*asked, answer], add_generation_prompt=False, **names)
    common = next((n for n, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b), len(prompt))
    if common < len(prompt):  # a thought was opened that this turn has not: both begin with the same line
        common = whole.rindex("\n", 0, common) + 1 if "\n" in whole[:common] else common

    family = family_of(source)
    found = read(family, [whole[common:]], (TOOL,), is_thinking=False)[0]
    ((called, arguments),) = found.calls
    assert (called, json.loads(arguments), found.complete) == ("weather", ARGUMENTS, 1)
    assert "weather" not in found.words


def _refuse(message: str) -> NoReturn:
    raise AssertionError(message)


def test_markers_are_all_that_the_parser_must_see() -> None:
    assert family_named("mistral", "[THINK]").markers(TOOLS) == (
        "[THINK]", "[/THINK]", "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]",
    )  # fmt: skip
    assert family_named("mistral", "[THINK]").markers(()) == ("[THINK]", "[/THINK]")
    assert family_named("dsml").markers(TOOLS)[0] == "｜DSML｜"
    assert GENERIC.markers(TOOLS) == ()
    assert "<|message|>" in family_named("harmony").markers(())
