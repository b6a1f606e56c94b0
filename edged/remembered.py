"""What was found out and may be forgotten, as JSON in `cache/`: a file that is damaged costs finding it out again.

So nothing here is an error. What cannot be read or written is told in the log, and everybody goes on without it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from edged import durable
from edged.checked import fields_of

log = logging.getLogger(__name__)

Known = TypeVar("Known")


def read(file: Path, parse: Callable[[Any], Known], nothing: Known) -> Known:
    """What `parse` makes of the file's JSON, or `nothing`. It may raise what values of a wrong kind or shape raise."""
    try:
        return parse(json.loads(file.read_text()))
    except FileNotFoundError:
        return nothing
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        log.warning("%s is not used and will be written anew: %s", file, error)
        return nothing


def write(file: Path, value: object, otherwise: str) -> None:
    """Keep `value`, which may consist of dataclasses; `otherwise` says what comes of it where the disk does not."""
    try:
        durable.write(file, json.dumps(value, default=fields_of, indent=1))
    except OSError as error:
        log.warning("%s cannot be written, so %s: %s", file, otherwise, error)
