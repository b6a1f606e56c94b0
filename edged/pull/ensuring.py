"""A model that somebody needs and that is not here: fetched under the name by which it is wanted, and waited for."""

from __future__ import annotations

from edged.errors import Cancelled, ProviderUnavailable
from edged.pull.queue import Pulls


async def fetch(pulls: Pulls, name: str) -> None:
    """Have the model called `name` installed, however long that takes; whoever stops waiting ends no download.

    Raises `InvalidRequest` and `Forbidden` for what is no reference, `QueueFull`, `Cancelled` where somebody called it
    off, and `ProviderUnavailable` with the reason why it could not be had.
    """
    last = pulls.submit(name, name=name)
    async for progress in pulls.follow(last.id):
        last = progress
    if last.state == "cancelled":
        raise Cancelled(f"The download of {name} was called off.")
    if last.state != "done":
        raise ProviderUnavailable(f"{name} could not be fetched: {last.message}")
