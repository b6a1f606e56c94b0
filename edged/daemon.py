"""The only file that knows everybody: who is made of whom, in which order things start, and so in which they stop.

Read `run` downwards for the start; its reverse is the stop. Nobody writes a shutdown sequence: each line that enters a
context undoes itself, and if a line fails, exactly those above it are undone.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path

from edged import catalogue
from edged.access.claiming import Claiming
from edged.access.door import Access
from edged.access.register import DATABASE, STEPS, Register
from edged.advice import hub
from edged.advice.adviser import Adviser
from edged.api import guard, listening, server
from edged.api.exposed import Exposed
from edged.config import Config, cache_dir, control_socket, models_dir
from edged.database import opened
from edged.errors import ConfigError, ShuttingDown
from edged.host import hardware
from edged.local.backend import Local
from edged.local.calibration import Calibration
from edged.local.fit import Ease
from edged.local.keeping import Keeping
from edged.local.loads import LoadTimes
from edged.local.pool import Pool
from edged.local.quarantine import identity_of
from edged.local.resident import taken_bytes
from edged.local.room import judge
from edged.local.shelf import Shelf
from edged.local.tuning import Tuning
from edged.metrics import Metrics
from edged.observe import Journal, Observed
from edged.pull.ensuring import fetch
from edged.pull.finder import Hubs
from edged.pull.queue import Pulls
from edged.pull.scrub import Scrub
from edged.pull.scrubbing import Scrubbing
from edged.routing import Router, default_model, largest
from edged.several import Several
from edged.store import ModelFile, Store
from edged.store.uploads import Uploads
from edged.tls.context import Source, Tls

log = logging.getLogger(__name__)

_PREFIXES = "kv"
_TLS = "tls"
# Once running answers were told to end, their last chunk is on its way within this.
_LAST_WORDS_S = 2.0
# For prefixes on disk, of what the answers leave of the drain. A card that writes 10 MB/s takes some 8,000 tokens of a
# 0.5B model in this time, and whoever pressed Ctrl-C does not wait for ever.
_PUT_AWAY_S = 10.0
# How long a restart takes at least: when to come back, for whoever is refused in between.
_RESTART_S = 30.0


async def run(config: Config, state: Path) -> None:
    """Serve until SIGTERM or SIGINT. Raises `ConfigError` when it cannot start as configured."""
    started_s = time.monotonic()
    downloads = config.downloads
    hubs = await asyncio.to_thread(Hubs.of, downloads, os.environ)
    async with AsyncExitStack() as life:
        life.enter_context(only_one(state))
        stop = life.enter_context(stop_signals())
        store = Store(models_dir(state))
        await asyncio.to_thread(swept, store)
        journal = Journal()
        cache = cache_dir(state)
        tuning = Tuning(cache / "tuning.json", hardware.identity())
        calibration = Calibration(cache / "memory.json", hardware.identity())
        engine = config.engine
        shelf = Shelf(state / _PREFIXES, engine.prefix_disk_bytes, engine.prefix_disk_daily_bytes)
        keeping = await life.enter_async_context(Keeping(shelf, store))
        times = LoadTimes(cache / "loads.json")
        keep_s = math.inf if config.models.keep_alive_s is None else config.models.keep_alive_s
        kept = filter(None, (config.models.default, *config.models.ensure))
        pool = await life.enter_async_context(
            Pool(
                *(store, engine, config.limits, journal.tell, tuning, keeping),
                times=times,
                calibration=calibration,
                keep_s=keep_s,
                kept=tuple(kept),
            )
        )
        pulls = await life.enter_async_context(Pulls(store, downloads, hubs, journal.tell, catalogue.reference_of))
        release = pool.memory.quarantine.release
        scrub = Scrub(store, pulls, journal.tell, lambda: journal.running > 0, release)
        scrubbing = await life.enter_async_context(Scrubbing(scrub))
        reaches_beyond = not guard.is_loopback(config.http.address)
        database = life.enter_context(opened(state / DATABASE, STEPS))
        access = await asyncio.to_thread(
            partial(Access, Register(database), config.access, journal.tell, reaches_beyond=reaches_beyond)
        )
        await life.enter_async_context(access.keeping())
        journal.observers.append(access.meter)
        claiming = Claiming(access, config.access.claim_hash, config.access.issue_file)
        adviser = Adviser(cache, store.folder, downloads.reserve_bytes, partial(hub.asking, downloads, hubs))
        metrics = Metrics(pool, shelf)
        journal.observers.append(metrics)

        def eased() -> Callable[[ModelFile], Ease]:
            # Asked in a thread: the copy is made at once, and who comes meanwhile comes too late.
            return judge(engine, calibration, taken_bytes(list(pool.memory.all.values())))

        def given(files: Sequence[ModelFile]) -> list[ModelFile]:
            return [file for file in files if pool.memory.quarantine.case_of(file.name, identity_of(file)) is None]

        def default(installed: Sequence[ModelFile]) -> str:
            return default_model(config.models.default, given(installed), eased(), pool.residents.keys())

        def best(able: Sequence[ModelFile]) -> ModelFile | None:
            return largest(given(able), eased(), pool.residents.keys())

        local = Local(pool, store, config.limits, config.engine.shared_prompts)
        router = Router(Several(local), store.models, config.routing.aliases, default, best)
        exposed = Exposed(
            config=config,
            backend=Observed(router, journal),
            router=router,
            local=local,
            pool=pool,
            store=store,
            journal=journal,
            metrics=metrics,
            pulls=pulls,
            uploads=Uploads(store, downloads.reserve_bytes),
            scrubbing=scrubbing,
            adviser=adviser,
            access=access,
            claiming=claiming,
            default_model=lambda: default(store.models()),
            started_s=started_s,
        )
        tls = await encrypted(life, config, state, journal.tell)
        if tls is not None:
            exposed.certified = lambda: tls[0].facts
        preloaded = await asyncio.to_thread(lambda: default(store.models())) if config.models.preload else None
        serving = listening.serving(
            *(server.build_app(exposed), config.http.address, config.http.port, control_socket(state)),
            tls[1] if tls else None,
        )
        exposed.addresses = await life.enter_async_context(serving)
        # The sockets are ours, and nobody is accepted before this coroutine waits again: so nobody can ask for another
        # model, which this one would be loaded beside.
        if preloaded is not None:
            pool.warm(preloaded)
        journal.tell("listening", address=" ".join(exposed.addresses))
        life.push_async_callback(drain, pool, journal, keeping, config.limits.drain_s)
        if reaches_beyond:
            await claiming.show()
        if config.models.ensure:
            pool.ensure(config.models.ensure, partial(fetch, pulls))
        await stop.wait()
        journal.tell("stopping", running=journal.running, drain_s=config.limits.drain_s)


async def encrypted(
    life: AsyncExitStack, config: Config, state: Path, tell: Callable[..., None]
) -> tuple[Tls, listening.Secured] | None:
    """TLS beside plain HTTP, where it is wanted; it ends with `life`.

    Where nobody has asked for it and something else has its port, edged goes on without. Raises `ConfigError`.
    """
    settings = config.tls
    is_asked_for = settings.enabled or settings.certificate is not None
    if settings.enabled is False or not (is_asked_for or not guard.is_loopback(config.http.address)):
        return None
    # Some megabytes of OpenSSL: not for a device that speaks to itself alone.
    from edged.tls.device import DeviceCertificate
    from edged.tls.given import GivenCertificate
    from edged.tls.names import of_this_device

    source: Source = DeviceCertificate(
        state / _TLS, lambda: of_this_device(guard.own_names() | set(config.http.allowed_hosts))
    )
    if settings.certificate is not None:
        source = GivenCertificate(settings.certificate, settings.key)
    try:
        listener = listening.listen(config.http.address, settings.port)
        life.callback(listener.close)
        tls = await life.enter_async_context(Tls(source, tell))
    except OSError as error:
        problem = f"https cannot be had on port {settings.port}: {error}. Choose another ([tls] port), or do without"
        if is_asked_for:
            raise ConfigError(f"{problem} ([tls] enabled = false).") from error
        log.warning("%s; http goes on alone.", problem)
        tell("tls_off", reason=str(error))
        return None
    return tls, listening.Secured(listener, tls.context)


async def drain(pool: Pool, journal: Journal, keeping: Keeping, drain_s: float) -> None:
    """Refuse newcomers, let running answers end by themselves for `drain_s`, then end them in words.

    What they leave of that time belongs to the prefixes that should be there after a restart.
    """
    began_s = time.monotonic()
    leaving = ShuttingDown("The device is restarting or shutting down.", retry_after_s=_RESTART_S)
    pool.close(leaving)
    try:
        async with asyncio.timeout(drain_s):
            await journal.quiet()
    except TimeoutError:
        pool.interrupt(leaving)
        try:
            async with asyncio.timeout(_LAST_WORDS_S):
                await journal.quiet()
        except TimeoutError:
            log.warning("%d answers did not end in time", journal.running)
    await keeping.put_away(min(_PUT_AWAY_S, drain_s - (time.monotonic() - began_s)))


@contextmanager
def only_one(state: Path) -> Iterator[None]:
    """Hold the state directory: two daemons in one would fight over models and sockets. Raises `ConfigError`."""
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        models_dir(state).mkdir(mode=0o700, exist_ok=True)
        lock = os.open(state / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"The state directory {state} cannot be used: {error}. See --state-dir.") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise ConfigError(f"Another edged is using {state}. Stop it, or choose another --state-dir.") from None
    finally:
        os.close(lock)


def swept(store: Store) -> None:
    """Clear away what an earlier run left half done. A disk that takes nothing keeps nobody from being answered."""
    try:
        store.sweep()
    except OSError as error:
        log.warning("%s cannot be tidied: %s", store.folder, error)


@contextmanager
def stop_signals() -> Iterator[asyncio.Event]:
    """An event that SIGTERM or SIGINT sets."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
