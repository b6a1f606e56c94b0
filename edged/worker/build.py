"""All of an engine that the state of a sequence depends on, in one line: where it differs, the state is of no use."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from edged.worker.bindings import lib
from edged.worker.context import Context
from edged.worker.devices import gpus


def build_of(context: Context) -> str:
    """Version, processor features and devices, and how this context keeps its cells.

    More than llama.cpp itself would object to: another kernel rounds otherwise, and what was read by one is not what
    the other would have read.
    """
    try:
        package = version("llama_cpp_python")
    except PackageNotFoundError:
        package = "unknown"
    cells = f"cells of type {context.cell_type}, {context.context_tokens} in all, {context.slots} sequences"
    placed = f"{context.model.offloaded_layers} layers on {', '.join(gpus()) or 'no GPU'}"
    system = lib.llama_print_system_info().decode(errors="replace")
    return f"llama-cpp-python {package}; {system}; {cells}; steps of {context.batch_tokens}; {placed}"
