"""What the daemon says of itself: alive, ready, and what it is doing. Pure functions; the routes are one-liners."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import edged
from edged.chat import ModelCard
from edged.errors import EdgedError, ModelLoading, Unavailable
from edged.local.fit import Fit
from edged.local.pool import Pool
from edged.local.resident import Resident
from edged.observe import Exchange, Happening, Journal

_DIGITS = 6


def unready(pool: Pool) -> EdgedError | None:
    """Why a chat sent now would not be admitted; None when it would. A model that loads on demand counts as ready."""
    if pool.closed is not None:
        return pool.closed
    if any(resident.state == "ready" for resident in pool.residents.values()):
        return None
    if pool.memory.warming is not None:
        return pool.memory.unready(pool.memory.warming.process.name)
    return pool.memory.failure


def readiness_body(error: EdgedError | None) -> dict[str, Any]:
    """`/readyz`."""
    if error is None:
        return {"status": "ready"}
    body: dict[str, Any] = {"status": "unready", "code": error.code, "message": str(error)}
    if isinstance(error, ModelLoading):
        body |= {"progress": error.progress, "eta_s": round(error.retry_after_s, 1)}
    elif isinstance(error, Unavailable):
        body |= {"eta_s": round(error.retry_after_s, 1)}
    return body


def health_body(error: EdgedError | None) -> dict[str, Any]:
    """`/health`, word for word as llama-server answers (tools/server/README.md of llama.cpp)."""
    if error is None:
        return {"status": "ok"}
    return {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}


def status_body(
    pool: Pool,
    journal: Journal,
    started_s: float,
    default: str,
    addresses: tuple[str, ...],
    cards: Mapping[str, ModelCard] | None = None,
) -> dict[str, Any]:
    """`/edged/v1/status`. `cards` has what is installed, by name; a model in memory may be gone from the disk."""
    return {
        "version": edged.__version__,
        "addresses": list(addresses),
        "uptime_s": round(time.monotonic() - started_s, 1),
        "default_model": default,
        "running": journal.running,
        "queued": pool.queued,
        "queued_background": pool.queued_in("background"),
        "queue_wait_s": round(pool.wait_s(default), 1),
        "residents": [
            {
                **_resident_body(name, resident, pool.memory.loading_s(name)),
                **_known_of((cards or {}).get(name)),
                "problem": pool.memory.problem(resident),
            }
            for name, resident in pool.residents.items()
        ],
        "quarantined": [
            {"model": case.model, "since": round(case.since_s), "reason": case.reason}
            for case in pool.memory.quarantine.cases
        ],
    }


def _known_of(card: ModelCard | None) -> dict[str, Any]:
    return {
        "capabilities": list(card.abilities) if card else None,
        "languages": list(card.about.languages) if card else None,
        "longest_context_tokens": card.longest_context_tokens if card else None,
    }


def _resident_body(name: str, resident: Resident, eta_s: float | None) -> dict[str, Any]:
    process, work = resident.process, resident.process.work
    card = process.card
    return {
        "model": name,
        "state": resident.state,
        "progress": process.progress,
        "eta_s": None if eta_s is None else round(eta_s, 1),
        "pid": process.pid,
        "slots": resident.slots,
        "busy": resident.slots - resident.free,
        "threads": process.threads,
        "context_tokens": card.context_tokens if card else None,
        "description": card.description if card else None,
        "model_bytes": card.model_bytes if card else None,
        "gpus": list(card.gpus) if card else None,
        "gpu_layers": card.gpu_layers if card else None,
        "fit": _fit_body(resident.fit) if resident.fit else None,
        "draft_model": card.drafter or None if card and not resident.draft_problem else None,
        "draft_problem": resident.draft_problem or None,
        "steps": work.steps,
        "prompt_tokens": work.prompt_tokens,
        "completion_tokens": work.completion_tokens,
        "step_s": round(work.step_s, _DIGITS),
        "decode_s": round(work.decode_s, _DIGITS),
        "sample_s": round(work.sample_s, _DIGITS),
        "drafted_tokens": work.drafted_tokens,
        "accepted_tokens": work.accepted_tokens,
    }


def _fit_body(fit: Fit) -> dict[str, Any]:
    """How a model runs in the memory that there is, and what that takes; `lowered` where it is less than configured."""
    return {
        "context_tokens": fit.way.context_tokens,
        "sequences": fit.way.sequences,
        "kv_type": fit.way.kv_type,
        "gpu_layers": fit.way.gpu_layers,
        "maps_file": fit.way.maps_file,
        "snapshot_bytes": fit.snapshot_bytes,
        "lowered": fit.lowered or None,
        "needs": {**asdict(fit.needs), "total_bytes": fit.needs.total_bytes},
    }


def exchange_body(exchange: Exchange) -> dict[str, Any]:
    """One entry of `/edged/v1/requests`. Never a prompt or an answer."""
    admission, usage = exchange.admission, exchange.usage
    return {
        "id": exchange.id,
        "time": exchange.began_s,
        "dialect": exchange.dialect,
        "account": exchange.account,
        "lane": exchange.lane,
        "requested_model": exchange.requested_model,
        "model": admission.model if admission else None,
        "served_by": admission.served_by if admission else None,
        "route": admission.route if admission else None,
        "outcome": exchange.outcome,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "queue_s": admission.queue_s if admission else None,
        "dropped_messages": admission.dropped_messages if admission else 0,
        "first_token_s": exchange.first_token_s,
        "first_token_predicted_s": admission.first_token_predicted_s if admission else None,
        "duration_s": exchange.duration_s,
    }


def happening_body(happening: Happening) -> dict[str, Any]:
    """One entry of `/edged/v1/events`."""
    return {"number": happening.number, "time": happening.time_s, "event": happening.event, **happening.facts}
