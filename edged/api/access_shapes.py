"""What the answers look like that tell who there is, as JSON schemas."""

from __future__ import annotations

from edged.access.people import ROLES, SCOPES
from edged.api.schema import COUNT, FLAG, NUMBER, TEXT, Schema, list_of, object_of, one_of, or_null, ref

_CHOICE = object_of({"value": FLAG, "locked": {**FLAG, "description": "Set in the configuration file."}})
_QUOTA = object_of(
    {"requests_per_minute": or_null(COUNT), "requests_per_day": or_null(COUNT), "tokens_per_day": or_null(COUNT)}
)
_KEY = {
    "id": TEXT,
    "name": TEXT,
    "scopes": list_of(one_of(*SCOPES)),
    "created_s": NUMBER,
    "expires_s": or_null(NUMBER),
    "quota": _QUOTA,
    "ceiling": one_of("device", "lan", "cloud"),
    "used": object_of({"requests": COUNT, "tokens": COUNT}),
}
_USER = {"id": TEXT, "name": TEXT, "role": one_of(*ROLES)}

ACCESS_SHAPES: dict[str, Schema] = {
    "Claim": object_of(
        {
            "name": TEXT,
            "claimed": FLAG,
            "reaches_beyond": {**FLAG, "description": "Whether other machines can reach this device."},
            "lan_chat": FLAG,
            "supervised": {**FLAG, "description": "Whether the owner can read what is written."},
            "you": or_null(ref("User")),
            "may": list_of(one_of(*SCOPES)),
            "transport": one_of("socket", "tls", "plain"),
        },
        about="Whose device this is, and who asks.",
    ),
    "Claimed": object_of({"you": ref("User")}, about="This browser is somebody's now."),
    "User": object_of(_USER),
    "Users": object_of({"users": list_of(object_of({**_USER, "created_s": NUMBER, "sessions": COUNT}))}),
    "Knock": object_of({"id": TEXT, "number": TEXT, "until_s": NUMBER}, about="An owner compares the number."),
    "Knocking": object_of({"state": one_of("waiting")}),
    "Knocks": object_of(
        {"requests": list_of(object_of({"number": TEXT, "label": TEXT, "address": TEXT, "until_s": NUMBER}))}
    ),
    "Invitation": object_of({"code": TEXT, "url": TEXT, "until_s": NUMBER}),
    "Sessions": object_of(
        {
            "sessions": list_of(
                object_of(
                    {
                        "id": TEXT,
                        "user": ref("User"),
                        "label": TEXT,
                        "created_s": NUMBER,
                        "used_s": NUMBER,
                        "expires_s": NUMBER,
                        "current": FLAG,
                    }
                )
            )
        }
    ),
    "Keys": object_of({"keys": list_of(object_of(_KEY))}),
    "NewKey": object_of({**_KEY, "key": {**TEXT, "description": "Shown now and never again."}}),
    "Settings": object_of({"access": object_of({"lan_chat": _CHOICE, "supervised": _CHOICE, "url_keys": _CHOICE})}),
}
