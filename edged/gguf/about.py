"""Where a model comes from and what it speaks, as its file says.

Keys: "Standardized key-value pairs" in docs/gguf.md of ggml. Nothing of it is checked, because nothing depends on it;
it is a stranger's word, made fit to be shown.
"""

from __future__ import annotations

from edged.chat import About
from edged.gguf.header import Gguf
from edged.plain import plain

# `llama_ftype` in include/llama.h of llama.cpp: what most of the tensors are.
_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4",
    40: "Q1_0", 41: "Q2_0",
}  # fmt: skip
_GUESSED = 1024  # a bit that says that whoever wrote the type had to guess it
_MOST_BASES = 16  # a merge of more than these is told of the first of them
_LONGEST = 200  # characters, of a name or a licence
_UNNAMED_LICENSE = "other"  # as Hugging Face writes a licence that has a name of its own


def about(header: Gguf | None) -> About:
    """What the file says; nothing where it is unreadable."""
    if header is None:
        return About()
    said = header.entries

    def text(key: str) -> str:
        value = said.get(f"general.{key}")
        return plain(value.strip(), _LONGEST) if isinstance(value, str) else ""

    license = text("license")
    bases = (text(f"base_model.{index}.name") or text(f"base_model.{index}.repo_url") for index in range(_MOST_BASES))
    return About(
        architecture=header.architecture,
        parameters=header.tensors.elements or None,
        size_label=text("size_label"),
        quantization=_quantization(said.get("general.file_type")),
        license=text("license.name") or license if license in ("", _UNNAMED_LICENSE) else license,
        base_models=tuple(filter(None, bases)),
        languages=header.languages,
    )


def _quantization(file_type: int | float | str | None) -> str:
    return _FILE_TYPES.get(file_type & ~_GUESSED, "unknown") if isinstance(file_type, int) else ""
