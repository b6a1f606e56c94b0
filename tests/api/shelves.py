"""What fetches, takes and judges models, for tests that make a daemon's parts by hand."""

from __future__ import annotations

import sqlite3
from functools import partial
from pathlib import Path

from edged import config
from edged.access.claiming import Claiming
from edged.access.credential import issue
from edged.access.door import Access
from edged.access.people import SCOPES, Key
from edged.access.register import STEPS, Register
from edged.advice import hub
from edged.advice.adviser import Adviser
from edged.catalogue import reference_of
from edged.config import Downloads
from edged.database import migrated
from edged.observe import Journal
from edged.pull.finder import Hubs
from edged.pull.queue import Pulls
from edged.pull.scrub import Scrub
from edged.pull.scrubbing import Scrubbing
from edged.store import Store
from edged.store.uploads import Uploads

# Nobody listens there.
NOWHERE = Downloads(huggingface="http://127.0.0.1:1", modelscope="", ollama="http://127.0.0.1:1")


def shelves(
    store: Store, journal: Journal, downloads: Downloads = NOWHERE
) -> tuple[Pulls, Uploads, Scrubbing, Adviser, Access, Claiming]:
    """All of them; whoever has the pulls or the scrub work enters them."""
    hubs = Hubs.of(downloads, {})
    pulls = Pulls(store, downloads, hubs, journal.tell, reference_of)
    scrubbing = Scrubbing(Scrub(store, pulls, journal.tell, lambda: False))
    adviser = Adviser(
        store.folder / "cache", store.folder, downloads.reserve_bytes, partial(hub.asking, downloads, hubs)
    )
    access = _access(journal, reaches_beyond=False)
    claiming = Claiming(access, None, None)
    return pulls, Uploads(store, downloads.reserve_bytes), scrubbing, adviser, access, claiming


def owners_headers(access: Access) -> dict[str, str]:
    """What a program sends that may do everything."""
    issued = issue("edk")
    known = Key(issued.credential.id, "tests", issued.credential.digest, frozenset(SCOPES), 0.0)
    access.keys[known.id] = known
    return {"Authorization": f"Bearer {issued.text}"}


def reached_by_others(journal: Journal) -> Access:
    """Who may use a device that is on a network."""
    return _access(journal, reaches_beyond=True)


def _access(journal: Journal, *, reaches_beyond: bool) -> Access:
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    register = Register(migrated(connection, Path(":memory:"), STEPS))
    return Access(register, config.Access(), journal.tell, reaches_beyond=reaches_beyond)
