"""What a model takes is known before its first load, within a tenth of what its worker then really had."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from benchmarks import synthetic
from benchmarks.fit import BOUND, FITTED_ON, forecast, measure
from edged.gguf.header import inspect
from edged.local.needs import Way, beside, needs_of
from edged.wire import KvType

# Three shapes, of three kinds of memory, that no constant was fitted on.
SHAPES = ("tiny", "tiny-window", "tiny-hybrid")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the files of shapes lie."""
    return tmp_path_factory.mktemp("shapes")


@pytest.mark.parametrize("kind", ["f16", "q8_0"])
@pytest.mark.parametrize("context_tokens", [512, 1024, 2048])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_peak_is_foretold(shape: str, context_tokens: int, kind: KvType, folder: Path) -> None:
    file, way = synthetic.build(shape, "Q8_0", folder), Way(context_tokens, 4, kind)
    needs = forecast(file, way)
    measured = asyncio.run(measure(file, way))

    assert needs.worker_bytes == pytest.approx(measured.peak_bytes, rel=BOUND), needs
    taken = measured.taken
    assert needs.weights_bytes + needs.repack_bytes == pytest.approx(taken.weights_bytes, rel=0.02)


def test_the_constants_were_fitted_on_others() -> None:
    assert not {shape for shape, _ in FITTED_ON} & set(SHAPES)


def test_a_smaller_model_beside_another_needs_no_process_of_its_own(folder: Path) -> None:
    file = synthetic.build("tiny", "Q8_0", folder)
    header, way, size_bytes = inspect(file), Way(2048, 4), file.stat().st_size
    alone = needs_of(header, size_bytes, way)

    assert alone.weights_bytes < beside(header, size_bytes, way) < alone.worker_bytes / 2
