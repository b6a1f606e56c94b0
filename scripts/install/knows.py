"""`python -m install.knows ROOT` writes which architectures and tokenizers the locked llama.cpp knows, from its source.

An architecture has a name in `LLM_ARCH_NAMES` (src/llama-arch.cpp) and a class in `llama_model_mapping`
(src/llama-model.cpp); a tokenizer and the way in which its texts are cut beforehand are compared by name in
src/llama-vocab.cpp.
"""

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from install.engine import read_lock, unpacked_source
from install.errors import SetupError

_LINE = 100  # characters of names on a line of what is written
# It has a name and a class, and its files are projectors, which are no models.
_NO_MODEL = "clip"


@dataclass(frozen=True)
class Known:
    """What a llama.cpp knows, by the names that files use."""

    architectures: tuple[str, ...]
    tokenizers: tuple[str, ...]
    cuts: tuple[str, ...]


def known_by(sources: Path) -> Known:
    """What the llama.cpp knows whose `src` folder this is. Raises `SetupError` where it is written otherwise."""
    names = dict(re.findall(r"\{ (LLM_ARCH_\w+), +\"([\w.-]+)\" +\}", (sources / "llama-arch.cpp").read_text()))
    mapping = re.search(r"llama_model_mapping\(.*?\n\}\n", (sources / "llama-model.cpp").read_text(), re.DOTALL)
    built = re.findall(r"case (LLM_ARCH_\w+):", mapping[0]) if mapping else []
    vocabulary = (sources / "llama-vocab.cpp").read_text()
    found = Known(
        _sorted(names[arch] for arch in built if names.get(arch, _NO_MODEL) != _NO_MODEL),
        _sorted(re.findall(r"tokenizer_model == \"([^\"]+)\"", vocabulary)),
        _sorted(re.findall(r"tokenizer_pre == \"([^\"]+)\"", vocabulary)),
    )
    if not (found.architectures and found.tokenizers and found.cuts):
        raise SetupError(f"{sources} is not written as it was: its names were not found.")
    return found


def module(version: str, known: Known) -> str:
    """The text of edged/gguf/known.py."""
    return "\n".join(
        [
            '"""Which architectures and tokenizers the locked llama.cpp knows: written by scripts/engine-knows.',
            "",
            "Held true against the installed library by tests/test_known.py.",
            '"""',
            "",
            "from __future__ import annotations",
            "",
            f'VERSION = "{version}"  # of llama-cpp-python',
            *_constant("ARCHITECTURES", known.architectures),
            "# Of `tokenizer.ggml.model`.",
            *_constant("TOKENIZERS", known.tokenizers),
            "# Of `tokenizer.ggml.pre`: how a text is cut before its pieces are merged.",
            *_constant("CUTS", known.cuts),
            "",
        ]
    )


def _constant(name: str, names: tuple[str, ...]) -> list[str]:
    lines = [""]
    for found in names:
        if len(lines[-1]) + len(found) > _LINE:
            lines.append("")
        lines[-1] += f'"{found}", '
    return [f"{name} = frozenset((", *(f"    {line.rstrip()}" for line in lines), "))  # fmt: skip"]


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(names)))


def main() -> int:
    """Write the file; what is done on the way goes to stderr."""
    root = Path(sys.argv[1])
    result, sys.stdout = sys.stdout, sys.stderr
    try:
        known = known_by(unpacked_source(root) / "vendor/llama.cpp/src")
        version = read_lock(root / "requirements/engine.lock").version
    except SetupError as refusal:
        print(f"edged: {refusal}")
        return 1
    target = root / "edged/gguf/known.py"
    target.write_text(module(version, known))
    counts = f"{len(known.architectures)} architectures, {len(known.tokenizers)} tokenizers, {len(known.cuts)} cuts"
    print(f"{target}: {counts}", file=result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
