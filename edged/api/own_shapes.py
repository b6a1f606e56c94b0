"""What the answers look like that are edged's own, as JSON schemas: models on their way and here, and operation."""

from __future__ import annotations

from typing import get_args

from edged.advice.choice import Verdict
from edged.api.access_shapes import ACCESS_SHAPES
from edged.api.schema import ANY, COUNT, FLAG, NUMBER, TEXT, Schema, list_of, object_of, one_of, or_null, ref
from edged.catalogue import Purpose
from edged.pull.progress import State

_PULL = object_of(
    {
        "id": TEXT,
        "reference": TEXT,
        "name": TEXT,
        "state": one_of(*get_args(State)),
        "total_bytes": or_null(COUNT),
        "done_bytes": COUNT,
        "bytes_per_s": or_null(NUMBER),
        "eta_s": or_null(NUMBER),
        "reason": {**TEXT, "description": "Why it waits."},
        "code": {**TEXT, "description": "Why it failed, for programs."},
        "message": {**TEXT, "description": "Why it failed, for people."},
        "verified": {**FLAG, "description": "Whether all of it came now and has the checksums that were announced."},
    },
    about="A model that is fetched, as it stands.",
)
_FIT = object_of(
    {
        "fits": FLAG,
        "context_tokens": {**or_null(COUNT), "description": "As many as it would have; null where it does not fit."},
        "sequences": or_null(COUNT),
        "kv_type": or_null(TEXT),
        "lowered": {**or_null(TEXT), "description": "What of the configuration it would do without, and why."},
        "needed_bytes": {**COUNT, "description": "Of memory; where it does not fit, with the least that is possible."},
        "reason": {**or_null(TEXT), "description": "Why it does not fit, and what would."},
    },
    about="How it runs, or would run now if no other model were in memory; null where it cannot be loaded.",
)
_INSTALLED = object_of(
    {
        "name": TEXT,
        "size_bytes": COUNT,
        "modified_s": COUNT,
        "made_for": or_null(TEXT),
        "abilities": list_of(TEXT),
        "context_tokens": or_null(COUNT),
        "longest_context_tokens": or_null(COUNT),
        "resident": FLAG,
        "problem": or_null(TEXT),
        "fit": or_null(_FIT),
        "record": {"anyOf": [ANY, {"type": "null"}], "description": "Where it came from; null for the owner's files."},
    }
)
_JUDGED = object_of(
    {
        "name": TEXT,
        "reference": TEXT,
        "repository": TEXT,
        "quantisation": TEXT,
        "licence": TEXT,
        "parameters": COUNT,
        "active_parameters": or_null(COUNT),
        "languages": TEXT,
        "purpose": one_of(*get_args(Purpose)),
        "about": TEXT,
        "sources": {"type": "object", "description": "For every fact the address where it was read."},
        "size_bytes": COUNT,
        "checked": {**or_null(TEXT), "description": "When the hub last had it; null: the size is a guess."},
        "tokens_per_s": or_null(NUMBER),
        "download_s": or_null(NUMBER),
        "installed": FLAG,
        "fits": FLAG,
        "verdict": one_of(*get_args(Verdict)),
        "reason": TEXT,
    }
)

OWN_SHAPES: dict[str, Schema] = {
    **ACCESS_SHAPES,
    "Pull": _PULL,
    "Pulls": object_of({"pulls": list_of(ref("Pull"))}, about="Running, waiting, and the last that ended."),
    "Import": object_of(
        {
            "id": TEXT,
            "name": TEXT,
            "size_bytes": COUNT,
            "sha256": or_null(TEXT),
            "offset": COUNT,
            "installed": FLAG,
        },
        about="A model on its way here; it goes on at its offset. Where all is here and `installed` is false, a PATCH "
        "of no bytes at the last offset finishes it.",
    ),
    "Imports": object_of({"imports": list_of(ref("Import"))}),
    "Scrub": object_of(
        {
            "running": FLAG,
            "failed": {**TEXT, "description": "Why it ended before its end; empty where it did not."},
            "models": list_of(
                object_of(
                    {
                        "name": TEXT,
                        "state": one_of("checking", "good", "mending", "mended", "replaced", "unchecked", "bad"),
                        "done_bytes": COUNT,
                        "size_bytes": COUNT,
                        "message": TEXT,
                    }
                )
            ),
        },
        about="What was found of every model that was reached.",
    ),
    "Installed": object_of({"models": list_of(_INSTALLED)}, about="The default model first."),
    "Deleted": object_of({"name": TEXT, "size_bytes": COUNT}),
    "Catalogue": object_of(
        {
            "device": ANY,
            "best": object_of({purpose: or_null(TEXT) for purpose in get_args(Purpose)}),
            "models": list_of(_JUDGED),
        },
        about="Models that can be fetched by name, judged for this device.",
    ),
    "Alive": object_of({"status": one_of("alive")}),
    "Ready": object_of(
        {"status": one_of("ready", "unready")},
        {"code": TEXT, "message": TEXT, "progress": NUMBER, "eta_s": NUMBER},
    ),
    "Health": object_of({}, {"status": one_of("ok"), "error": ANY}, about="Word for word as llama-server answers."),
    "Authority": {"type": "string", "description": "A certificate in PEM."},
    "Trust": object_of(
        {
            "https": list_of(TEXT),
            "names": list_of(TEXT),
            "left_out": {**list_of(TEXT), "description": "Names of this device that its authority was not made for."},
            "expires": TEXT,
            "authority": or_null(
                object_of({"url": TEXT, "certificate": TEXT, "fingerprint_sha256": TEXT, "expires": TEXT})
            ),
        },
        about="What https is good for here; `authority` is null where the owner gave a certificate.",
    ),
    "Metrics": {"type": "string", "description": "Prometheus's text format."},
    "Status": object_of(
        {
            "version": TEXT,
            "addresses": list_of(TEXT),
            "uptime_s": NUMBER,
            "default_model": TEXT,
            "running": COUNT,
            "queued": COUNT,
            "residents": list_of(
                object_of(
                    {"model": TEXT, "state": TEXT, "slots": COUNT, "busy": COUNT},
                    {"capabilities": or_null(list_of(TEXT)), "languages": or_null(list_of(TEXT))},
                )
            ),
            "quarantined": list_of(object_of({"model": TEXT, "since": COUNT, "reason": TEXT})),
        }
    ),
    "Requests": object_of(
        {"requests": list_of(object_of({"id": TEXT, "time": NUMBER, "dialect": TEXT, "outcome": or_null(TEXT)}))},
        about="Newest first. Never a prompt or an answer.",
    ),
    "Events": object_of(
        {"events": list_of(object_of({"number": COUNT, "time": NUMBER, "event": TEXT}))}, about="Oldest first."
    ),
}
