"""Models of real size without their weights: a GGUF with random numbers in the exact shape of a known model.

    python -m benchmarks.synthetic qwen2.5-0.5b --quant Q4_0 --out models/

A token costs what its matrices weigh, and how long its text is; both are real here. Shapes come from `shapes.py`, the
vocabulary from the vocabulary files of the engine's source package, the chat template from the same place, and the
quantisation from llama.cpp itself. What the model says is noise, so nothing about answers can be measured with it.

Two things keep the noise useful. Tokens that are not a space and a word (in shapes for tests: control tokens,
padding) have embeddings a tenth of the others' size: at the input the first norm undoes that, at the output, which is
the same matrix, their logits have a spread of 0.25 where the largest of ten thousand or more words stands near 10, so
none is ever picked greedily. So an answer ends where the request says, every token of it is text that somebody sees,
and quoted in the next turn it falls into the tokens that it was drawn as, as what a trained model says nearly always
does. And shape, quantisation and seed decide every weight, so figures can be compared.

Files are kept in `${XDG_CACHE_HOME:-~/.cache}/edged/synthetic`. Building holds one tensor in F16 at a time (0.3 GB for
the embedding at 0.5B, 0.6 GB at Gemma's 262,144 rows) and needs the disk for the F16 file while it works.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
import zlib
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

from benchmarks import engine, layouts, vocabulary
from benchmarks.shapes import SHAPES, Shape

DEFAULT_QUANT = "Q4_0"
SEED = 0

# Part of the name in the cache: raise it when the same shape and seed would give other bytes.
_RECIPE = 8

# Up to here a model is copied out of the cache, so that a test may spoil its copy; larger ones are linked.
_COPY_LIMIT_BYTES = 64 * 2**20

# Random numbers are drawn in 32 bits and stored in 16; this many at a time keeps the 32-bit part at 64 MiB.
_CHUNK_VALUES = 16 * 2**20

_NON_WORD_SCALE = 0.1
_NON_WORD_TYPES = (gguf.TokenType.CONTROL, gguf.TokenType.UNUSED, gguf.TokenType.UNKNOWN, gguf.TokenType.USER_DEFINED)
# Narrower shapes are the ones whose numbers tests compare. With most of their embeddings small, rounding to 16 bits
# weighed so much in them that the same vectors differed by 6e-4; so they may say anything but control tokens.
_NARROWEST_SPEAKER = 512


def build(shape: str, quant: str, directory: Path, *, seed: int = SEED, engine_source: Path | None = None) -> Path:
    """The model as `directory/synthetic-<shape>-<quant>.gguf`, taken from the cache or made now (seconds to minutes).

    ValueError names an unknown shape or quantisation. Models over 64 MiB are hard links into the cache: read only.
    """
    _check(shape, quant)
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / f"synthetic-{shape}-{quant}.gguf"
    cached = _cached(shape, quant, seed, engine_source)
    if not (target.exists() and target.samefile(cached)):
        _place(cached, target)
    return target


def cache_directory() -> Path:
    """Where built models are kept."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "edged" / "synthetic"


def _check(shape: str, quant: str) -> None:
    if shape not in SHAPES:
        raise ValueError(f"unknown shape {shape!r}; known are {', '.join(SHAPES)}")
    if quant not in engine.QUANTS:
        raise ValueError(f"unknown quantisation {quant!r}; known are {', '.join(engine.QUANTS)}")


def _cached(shape: str, quant: str, seed: int, engine_source: Path | None) -> Path:
    target = cache_directory() / f"{shape}-{quant}-seed{seed}-recipe{_RECIPE}.gguf"
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    # A directory of its own on the same file system: two builders do not meet, and the rename is atomic.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="building-") as work:
        whole = Path(work) / "whole.gguf"
        write(SHAPES[shape], f"synthetic {shape}", whole, seed, engine_source or engine.source())
        finished = whole
        if quant != "F16":
            finished = Path(work) / "quantised.gguf"
            engine.quantise(whole, finished, quant)
        finished.rename(target)
    return target


def _place(cached: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    if cached.stat().st_size > _COPY_LIMIT_BYTES and cached.stat().st_dev == target.parent.stat().st_dev:
        target.hardlink_to(cached)
    else:
        shutil.copyfile(cached, target)


def write(
    shape: Shape, name: str, target: Path, seed: int, engine_source: Path, *, template: str | None = None
) -> None:
    """Writes the F16 file, one tensor at a time; `template` takes the place of the shape's own."""
    models = engine_source / "vendor" / "llama.cpp" / "models"
    fields = vocabulary.read(models / f"ggml-vocab-{shape.vocabulary}.gguf")
    if template is None:
        template = (models / "templates" / shape.template).read_text(encoding="utf-8") if shape.template else ""

    writer = gguf.GGUFWriter(target, shape.architecture)
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    for key, value in layouts.entries(shape).items():
        _add(writer, key, value)
    are_words = _add_vocabulary(writer, shape, fields, template)

    tensors = list(layouts.tensors(shape))
    for tensor in tensors:
        kind = np.dtype(np.float32 if tensor.is_exact else np.float16)
        writer.add_tensor_info(tensor.name, tensor.shape, kind, int(np.prod(tensor.shape)) * kind.itemsize)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in tensors:
        writer.write_tensor_data(_values(tensor, are_words, seed))
    writer.close()


def _add(writer: gguf.GGUFWriter, key: str, value: layouts.Entry) -> None:
    if isinstance(value, tuple):
        writer.add_array(key, list(value))
    elif type(value) is int:
        writer.add_uint32(key, value)
    else:
        writer.add_key_value(key, value, gguf.GGUFValueType.get_type(value))


def _add_vocabulary(
    writer: gguf.GGUFWriter, shape: Shape, fields: dict[str, vocabulary.Field], template: str
) -> npt.NDArray[np.bool_]:
    """Copies the vocabulary, padded to the shape's rows, with the template; tells which tokens may be said.

    Padding in the source has the type that an older converter gave it; today's says unused, which also keeps it out of
    the search for special tokens in every prompt.
    """
    tokens = vocabulary.texts(fields["tokenizer.ggml.tokens"])
    types = vocabulary.numbers(fields["tokenizer.ggml.token_type"])
    types = [
        int(gguf.TokenType.UNUSED) if text.startswith("[PAD") else kind
        for text, kind in zip(tokens, types, strict=True)
    ]
    end = tokens.index(shape.end_token)
    missing = range(len(tokens), shape.rows)
    if missing and "tokenizer.ggml.scores" in fields:
        raise ValueError(
            f"{shape.vocabulary} has scores, so it cannot be padded from {len(tokens)} to {shape.rows} tokens"
        )
    tokens += [f"[PAD{index}]" for index in missing]
    types += [int(gguf.TokenType.UNUSED)] * len(missing)

    replaced: dict[str, vocabulary.Value] = {"tokens": tokens, "token_type": types, "eos_token_id": end}
    for key, field in fields.items():
        if key.startswith("tokenizer.ggml."):
            value = replaced.get(key.removeprefix("tokenizer.ggml."), field.value)
            writer.add_key_value(key, value, field.kind, sub_type=field.element)
    if template:
        writer.add_chat_template(template)
    if shape.rerank_template:
        writer.add_string("tokenizer.chat_template.rerank", shape.rerank_template)
    if shape.width < _NARROWEST_SPEAKER:
        return ~np.isin(np.array(types), _NON_WORD_TYPES)
    return np.array([vocabulary.is_word(text) for text in tokens])


def _values(tensor: layouts.Tensor, are_words: npt.NDArray[np.bool_], seed: int) -> npt.NDArray[np.floating]:
    """The numbers of one tensor; they depend on a name and the seed, not on the tensors before it."""
    kind = np.float32 if tensor.is_exact else np.float16
    if tensor.values is not None:
        return np.array(tensor.values, dtype=kind)
    numbers: npt.NDArray[np.floating] = np.full(tensor.shape, tensor.middle, dtype=kind)
    random = np.random.default_rng([seed, zlib.crc32((tensor.drawn_as or tensor.name).encode())])
    if tensor.has_signs:
        numbers *= random.choice(np.array([-1, 1], dtype=kind), tensor.shape)
    if not tensor.spread:
        return numbers
    flat = numbers.reshape(-1)
    for start in range(0, flat.size, _CHUNK_VALUES):
        part = flat[start : start + _CHUNK_VALUES]
        part += (tensor.spread * random.standard_normal(part.size, dtype=np.float32)).astype(kind)
    if tensor.name == layouts.EMBEDDING:
        numbers[~are_words] *= kind(_NON_WORD_SCALE)
    return numbers


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.synthetic", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("shape", choices=SHAPES, help="the model whose shape is copied")
    parser.add_argument("--quant", choices=engine.QUANTS, default=DEFAULT_QUANT, help="(default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path(), help="a folder, or a file name.gguf (default: here)")
    parser.add_argument("--seed", type=int, default=SEED, help="another seed, other numbers (default: %(default)s)")
    parser.add_argument("--engine-source", type=Path, help="unpacked llama-cpp-python (default: scripts/engine-source)")
    chosen = parser.parse_args(arguments)

    started = time.monotonic()
    out: Path = chosen.out
    directory = out.parent if out.suffix == ".gguf" else out
    path = build(chosen.shape, chosen.quant, directory, seed=chosen.seed, engine_source=chosen.engine_source)
    if out.suffix == ".gguf":
        path = path.replace(out)
    print(f"{path}  {path.stat().st_size / 1e6:.1f} MB  {time.monotonic() - started:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
