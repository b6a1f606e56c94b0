"""How browsers are let in: by a code that is shown here and entered there, or by a number that both sides compare."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from edged import durable
from edged.access import pairing
from edged.access.credential import Issued
from edged.access.door import Access
from edged.access.failures import group_of
from edged.access.pairing import LIFE_S, Code, Pairing
from edged.access.people import Role, User
from edged.errors import EdgedError, Forbidden, NotFound, RateLimited

log = logging.getLogger(__name__)

# A code that nobody asked for at the device is shown no more often than this, however often the page is opened.
_SHOW_AGAIN_S = 60.0
_MOST_KNOCKS = 8


@dataclass(frozen=True, slots=True)
class Knock:
    """A browser that waits for an owner's yes. Its `id` is the browser's secret; owners see the `number` alone."""

    id: str
    number: str
    label: str
    address: str
    until_s: float
    role: Role | None = None
    name: str = ""


class Claiming:
    """The codes that are out and the browsers that knock. `issue_file` is what the console's login shows."""

    def __init__(
        self,
        access: Access,
        claim_hash: str | None,
        issue_file: Path | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._access = access
        self._issue_file = issue_file
        self._clock = clock
        self._salt, hashed = pairing.preset(claim_hash) if claim_hash else (b"", b"")
        codes = (Code(hashed, "owner", math.inf),) if hashed and not access.is_claimed else ()
        self._pairing = Pairing(codes)
        self._knocks: dict[str, Knock] = {}
        self._shown_s = -math.inf
        self._turn = asyncio.Lock()

    def now_s(self) -> float:
        """Unix time."""
        return self._clock()

    async def show(self) -> None:
        """Have a code that can be entered while nobody owns the device, on its console and in its log."""
        now_s = self.now_s()
        recently = now_s - self._shown_s < _SHOW_AGAIN_S or now_s < self._pairing.paused_until_s
        if self._access.is_claimed or self._pairing.has_code(now_s) or recently:
            return
        self._shown_s = now_s
        code = self.new_code("owner")
        log.warning("this device has no owner yet: open its page and enter the code %s within ten minutes", code)
        await self._post(f"\nedged: to claim this device, open its page and enter {code}\n\n")

    def new_code(self, role: Role, name: str = "") -> str:
        """One more code, for whoever enters it first within ten minutes."""
        text, now_s = pairing.new_code(), self.now_s()
        code = Code(pairing.digest_of(text), role, now_s + LIFE_S, name)
        self._pairing = pairing.offer(self._pairing, code, now_s)
        return text

    async def enter(self, typed: str, name: str, label: str) -> tuple[User, Issued]:
        """Somebody has typed a code: of all who do, one becomes what it grants.

        Raises `Forbidden` for a wrong one, `RateLimited` after too many.
        """
        digests = [pairing.digest_of(typed)]
        async with self._turn:  # one claims, and whoever comes after the last try costs no slow hash
            if self._access.is_claimed:
                self._pairing = pairing.without_presets(self._pairing)
            if any(code.is_preset for code in self._pairing.codes) and self.now_s() >= self._pairing.paused_until_s:
                digests.append(await asyncio.to_thread(pairing.preset_digest, typed, self._salt))
            # The code is gone before anybody is let in by it, and out again where nobody was.
            self._pairing, code = pairing.attempt(self._pairing, digests, self.now_s())
            if code is None:
                raise Forbidden("That is not the code, or no longer. It is the newest that the device has shown.")
            was_claimed = self._access.is_claimed
            try:
                user, issued = await self._access.add_user(name or code.name or code.role, code.role, label)
            except EdgedError:
                self._pairing = replace(self._pairing, codes=(*self._pairing.codes, code))
                raise
        if not was_claimed:
            await self._post("")
        return user, issued

    def knock(self, label: str, address: str) -> Knock:
        """A browser asks to be let in; an owner compares the number. Raises `RateLimited`: one at a time each."""
        now_s = self.now_s()
        self._knocks = {id: knock for id, knock in self._knocks.items() if knock.until_s > now_s}
        mine = [knock for knock in self._knocks.values() if group_of(knock.address) == group_of(address)]
        if mine or len(self._knocks) >= _MOST_KNOCKS:
            wait_s = min(knock.until_s for knock in mine or self._knocks.values()) - now_s
            raise RateLimited("Others wait to be let in already. Try again later.", retry_after_s=wait_s)
        taken = {knock.number for knock in self._knocks.values()}
        number = next(drawn for drawn in iter(lambda: f"{secrets.randbelow(10_000):04}", None) if drawn not in taken)
        knock = Knock(secrets.token_hex(16), number, label, address, now_s + LIFE_S)
        self._knocks[knock.id] = knock
        return knock

    def waiting(self) -> list[Knock]:
        """Who knocks."""
        now_s = self.now_s()
        return [knock for knock in self._knocks.values() if knock.until_s > now_s and knock.role is None]

    def answer(self, number: str, role: Role | None, name: str) -> None:
        """An owner's word: `role`, or None for no. Raises `NotFound`."""
        found = next((knock for knock in self.waiting() if knock.number == number), None)
        if found is None:
            raise NotFound(f"Nobody with the number {number[:8]!r} is waiting (any more).")
        if role is None:
            del self._knocks[found.id]
        else:
            self._knocks[found.id] = replace(found, role=role, name=name)

    async def look(self, id: str) -> tuple[User, Issued] | None:
        """What became of a knock: None while nobody has answered. Raises `NotFound` where the answer was no."""
        knock = self._knocks.get(id)
        if knock is None or knock.until_s <= self.now_s():
            raise NotFound("This request to be let in is over: it was refused, or nobody answered in ten minutes.")
        if knock.role is None:
            return None
        del self._knocks[id]  # before anybody else has a turn: one browser is let in
        return await self._access.add_user(knock.name or knock.role, knock.role, knock.label)

    async def _post(self, text: str) -> None:
        if self._issue_file is None:
            return
        try:
            await asyncio.to_thread(durable.write, self._issue_file, text)
        except OSError as error:
            log.warning("%s cannot be written, so the console shows no code: %s", self._issue_file, error)
