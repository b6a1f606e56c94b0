"""What fetches, takes and judges models, for tests that make a daemon's parts by hand."""

from __future__ import annotations

from functools import partial

from edged.advice import hub
from edged.advice.adviser import Adviser
from edged.catalogue import reference_of
from edged.config import Downloads
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
) -> tuple[Pulls, Uploads, Scrubbing, Adviser]:
    """All of them; whoever has the pulls or the scrub work enters them."""
    hubs = Hubs.of(downloads, {})
    pulls = Pulls(store, downloads, hubs, journal.tell, reference_of)
    scrubbing = Scrubbing(Scrub(store, pulls, journal.tell, lambda: False))
    adviser = Adviser(
        store.folder / "cache", store.folder, downloads.reserve_bytes, partial(hub.asking, downloads, hubs)
    )
    return pulls, Uploads(store, downloads.reserve_bytes), scrubbing, adviser
