"""The way to each vendor, step by step: its name, its certificate, our credentials, its clock, its files.

Nothing is sent but what asks: a look at a name, a handshake, a ping, a listing. The calls are the agent's own, with its
time-outs, its CA and its proxy, so that what works here works there.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import tempfile
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

import httpcore

from agent.connectors.base import Cache, ExportFeed, FeedSurroundings
from agent.connectors.registry import ROOMS
from agent.dialling import Dialler, Proxy, why
from agent.doctor.findings import Finding, Grade, fail, ok, unknown, warn
from agent.domain.fallback import REPLICA_LEVEL
from agent.domain.identifiers import Identifier
from agent.domain.link import CLOCK_TOLERANCE
from agent.errors import FeedError, VendorError, VendorRefusedError
from agent.ground import Ground
from agent.names import Names
from agent.ports import Clock
from agent.settings import Configuration, VendorSection
from agent.systems import System, open_systems
from agent.tls import client_context
from agent.transport import Answer, HttpPolicy

EXPIRES_SOON = timedelta(days=14)
_ADDRESS = "_url"
"""How each of a room's settings ends that is an address to be called."""
_PORTS = {"http": 80, "https": 443}
_LINE = "Check the line, the firewall and http.proxy."
_LISTING_S = 60.0
_AS_GOOD_AS_NONE = timedelta(seconds=2)


class _Heard:
    """How far our clock is ahead of the loyalty system's, by its last answer; None as long as it has not told."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.off: timedelta | None = None

    def __call__(self, answer: Answer) -> None:
        if answer.date is not None:
            self.off = self._clock.now() - answer.date


async def look_online(configuration: Configuration) -> AsyncIterator[Finding]:
    """Every finding on the way to each vendor, one after the other, as each is made.

    Raises:
        ConfigurationError: what is configured cannot be used.
    """
    owner = ROOMS[configuration.settings.loyalty.vendor].owner
    guids = owner is not None and owner.guid_contact_ids
    ground = Ground(configuration, None, random.SystemRandom(), guid_contact_ids=guids)
    heard = _Heard(ground.clock)
    ground.bells.heard.listen(heard)
    async with AsyncExitStack() as stack:
        systems = open_systems(ground, ROOMS, stack, taken=_nothing, offers=_none_is_used, handovers=_none_is_used)
        for system, (name, _, table) in zip(systems, configuration.vendor_tables(), strict=True):
            for url in addresses_of(table):
                named = await _name(name, url, ground.http)
                yield named
                if named.state is Grade.OK:
                    yield await _handshake(name, url, ground.http)
            if system.room.folder(table) is None:
                yield await _credentials(system)
            if system is systems[0]:
                yield _clock(name, heard)
                async for finding in _feed(system, ground):
                    yield finding


def addresses_of(table: VendorSection) -> list[str]:
    """Every address that a vendor's table has us call, each host once."""
    urls = [str(value) for key, value in table if key.endswith(_ADDRESS) and value]
    return list({urlsplit(url).netloc: url for url in urls}.values())


async def _name(vendor: str, url: str, http: HttpPolicy) -> Finding:
    """Whether the host has an address; through a proxy it is the proxy that looks."""
    check, host, whose = f"{vendor}.name", urlsplit(url).hostname or "", ""
    if _is_proxied(url, http):
        host, whose = urlsplit(http.proxy).hostname or "", "the proxy "
    try:
        async with asyncio.timeout(http.connect_timeout_s):
            count = len(await Names().addresses(host))
    except (OSError, TimeoutError) as error:
        text = f"{whose}{host} has no address: {why(error)}"
        return fail(check, text, "Check the name, and this machine's name servers.")
    return ok(check, f"{whose}{host} has {count} address{'es' if count > 1 else ''}")


async def _handshake(vendor: str, url: str, http: HttpPolicy) -> Finding:
    """Whether the host answers, and proves to be who it is called."""
    check, parts = f"{vendor}.tls", urlsplit(url)
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    context = client_context(http.ca_file)
    dialler = Dialler(Proxy(http.proxy, context, http.proxy_secret) if _is_proxied(url, http) else None)
    try:
        async with asyncio.timeout(http.connect_timeout_s + http.read_timeout_s):
            stream = await dialler.connect_tcp(host, port, http.connect_timeout_s)
            try:
                if parts.scheme == "http":
                    return ok(check, f"{host} answers, without TLS, on this machine")
                stream = await stream.start_tls(context, host, http.read_timeout_s)
                return _judged(check, host, stream.get_extra_info("ssl_object"))
            finally:
                await stream.aclose()
    except VendorError as error:
        return fail(check, f"{host} {error}", _LINE)
    except (OSError, TimeoutError, httpcore.NetworkError, httpcore.TimeoutException) as error:
        return fail(check, f"{host} cannot be reached: {why(error)}", _LINE)


def _judged(check: str, host: str, tls: ssl.SSLObject) -> Finding:
    shown = tls.getpeercert() or {}
    ends_s = ssl.cert_time_to_seconds(str(shown["notAfter"]))
    ends = datetime.fromtimestamp(ends_s, UTC)
    text = f"{host} proves to be it ({tls.version()}), until {ends.date().isoformat()}"
    if ends - datetime.now(UTC) < EXPIRES_SOON:
        return warn(check, text, "Whoever runs that server has to renew its certificate.")
    return ok(check, text)


async def _credentials(system: System) -> Finding:
    """Whether the vendor takes our credentials."""
    check = f"{system.link.vendor}.credentials"
    try:
        await system.connector.ping()
    except VendorRefusedError as error:
        return fail(check, str(error), error.advice)
    except VendorError as error:
        return unknown(check, f"{system.link.vendor} {error}", _LINE)
    return ok(check, "are taken")


def _clock(vendor: str, heard: _Heard) -> Finding:
    """How far this machine's clock is from the vendor's; the further systems' are not asked, as the agent does not."""
    check = f"{vendor}.clock"
    if heard.off is None:
        return unknown(check, f"{vendor} has not told its time", "See its other rows: it tells with any answer.")
    text = f"this clock is {abs(heard.off.total_seconds()):,.0f} s {'ahead' if heard.off > timedelta() else 'behind'}"
    if abs(heard.off) > CLOCK_TOLERANCE:
        return fail(check, f"{text} of {vendor}'s", "Set the clock, and have the machine synchronise it.")
    return ok(check, f"{text} of {vendor}'s" if abs(heard.off) > _AS_GOOD_AS_NONE else f"agrees with {vendor}'s")


async def _feed(system: System, ground: Ground) -> AsyncIterator[Finding]:
    """Whether the files that contacts come in can be listed; of a feed that is calls, the credentials say enough."""
    owner = system.room.owner
    if ground.tagging.level < REPLICA_LEVEL or owner is None or isinstance(owner.feed, Cache):
        return
    with tempfile.TemporaryDirectory(prefix="loyalty-agent-doctor-") as spool:
        # Nothing is downloaded; but what the running agent downloads at this moment lies in a spool that is not ours.
        feed = owner.feed(system.connector, _surroundings(system, ground, Path(spool)))
        if isinstance(feed, ExportFeed):
            yield await _listing(f"{system.link.vendor}.feed", feed)


async def _listing(check: str, feed: ExportFeed) -> Finding:
    try:
        async with asyncio.timeout(_LISTING_S), feed.source() as source:
            files = await source.list()
    except (VendorError, FeedError) as error:
        return fail(check, str(error), error.advice)
    except TimeoutError:
        return fail(check, f"the files were not listed within {_LISTING_S:.0f} s", _LINE)
    if not files:
        text = "can be listed, and holds no export file"
        return warn(check, text, "Ask the loyalty system's people when its exports are written, and where.")
    newest = max(file.modified_at for file in files)
    return ok(check, f"{len(files)} files, the newest of {newest.isoformat(timespec='minutes')}")


def _surroundings(system: System, ground: Ground, spool: Path) -> FeedSurroundings:
    return FeedSurroundings(
        normaliser=ground.normaliser,
        primary=ground.tagging.primary,
        fields=ground.settings.replica.fields,
        secret=ground.secret,
        base=ground.configuration.base,
        spool=spool,
        link=system.link,
        pace=system.pace,
        clock=ground.clock,
        unseen=_nobody,
    )


def _is_proxied(url: str, http: HttpPolicy) -> bool:
    return bool(http.proxy) and url.startswith("https:")


def _nothing(_vendor: str, _names: Collection[str]) -> Collection[str]:
    return ()


def _none_is_used() -> NoReturn:
    raise AssertionError("nothing is delivered here")


async def _nobody() -> Sequence[Identifier] | None:
    return None
