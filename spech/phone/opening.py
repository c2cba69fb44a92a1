"""Opens a phone: its sockets, its gate for callers, its journal and its tasks."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Final, Protocol

from spech.addresses import Address
from spech.phone.account import Account
from spech.phone.arguments import check_phone
from spech.phone.callers import AllowedCallers, Callers
from spech.phone.formats import audio_formats
from spech.phone.journal import Journal
from spech.phone.life import Patience
from spech.phone.phone import Phone
from spech.phone.reach import Reach
from spech.phone.rules import CallRules
from spech.rtp.ports import PortRange
from spech.scopes import open_scope
from spech.sip.agent import Screen
from spech.sip.dialog.identity import Identity
from spech.sip.endpoint import Endpoint, open_endpoint
from spech.sip.resolver import Resolver
from spech.sip.transport.carriers import Carriers

MEDIA_PORTS: Final = PortRange(10_000, 19_999)
_EVERY_CALL_RINGS: Final = CallRules()


class SharedAddress(Protocol):
    """A SIP address of another process, which registers the account; see :mod:`spech.front`."""

    carriers: Carriers

    def attach(self, endpoint: Endpoint, identity: Identity | None, callers: Callers) -> None:
        """Begin to carry messages for ``endpoint``, which calls as ``identity``.

        ``callers`` learn the addresses of host names from the other process.
        """


@asynccontextmanager
async def open_phone(
    account: Account | None = None,
    *,
    listen: Address = ("0.0.0.0", 0),
    ports: PortRange = MEDIA_PORTS,
    codecs: Sequence[str] = ("PCMU", "PCMA"),
    rules: CallRules = _EVERY_CALL_RINGS,
    silence_suppression: bool = False,
    no_sound_after: float = 5.0,
    give_up_after: float | None = 60.0,
    drain: float = 5.0,
    journal: str | Path | None = None,
    stun: str | None = None,
    ice: bool | None = None,
    callers: AllowedCallers | None = None,
    strangers: int = 0,
    max_calls: int | None = None,
    screen: Screen | None = None,
    rng: random.Random | None = None,
    resolver: Resolver | None = None,
    shared: SharedAddress | None = None,
) -> AsyncIterator[Phone]:
    """Open a telephone. Leaving the block hangs up every call and removes the registration.

    Args:
        account: the account to register and to call from; None for calls between SIP URIs.
        listen: address and port for SIP, UDP and TCP; port 0 takes any free one, ``::`` means
            IPv6 and IPv4.
        ports: UDP ports for RTP and RTCP, two for each call.
        codecs: names in order of preference (``spech.codecs.names()`` lists them), with optional
            settings: ``opus;bitrate=24000;complexity=8``, ``PCMU;ptime=40``.
        rules: forwarding, do not disturb and call waiting; see :attr:`Phone.rules`.
        silence_suppression: send comfort noise (RFC 3389) or the codec's own silence frames in
            pauses of speech, if the far end agrees. That halves the traffic, but some PBXs cannot
            handle it. Played files and digits are always sent. Pauses of the far end are filled
            with comfort noise in any case.
        no_sound_after: seconds without sound until :attr:`Call.no_sound` becomes true, if the far
            end is expected to send.
        give_up_after: seconds until a call whose far end gives no sign of life is ended: no RTP, no
            RTCP, no answer to OPTIONS within the dialog. None for never.
        drain: seconds to wait on exit for responses to our farewells.
        journal: a file with what is needed to end the present calls. If the process is killed, the
            next phone with this file and account ends its calls, within an hour. The file holds no
            password. Only one phone at a time can use it.
        stun: behind a NAT, the STUN server that reports our public addresses:
            ``stun:host[:port]``.
        ice: see :class:`~spech.Account`; the account's by default.
        callers: whose calls ring, and whose text messages are taken, besides the registrar's:
            addresses, networks and host names of trunks, or "anyone". None means the account's
            server and this machine, or anyone if there is no account. If callers are listed,
            loopback has to be among them. Others get 403.
        strangers: how many calls at once may ring from other callers; further ones get 486.
        max_calls: how many incoming calls there may be at once; further ones get 503 with
            Retry-After. Outgoing calls do not count.
        screen: see :class:`~spech.sip.agent.UserAgent`; how a server serves and authenticates.
        rng: randomness, seeded in tests.
        resolver: finds servers; by default through the machine's own name servers.
        shared: the SIP address of another process, in place of ``listen``: how the workers of
            ``spech bridge`` share one.

    Raises:
        ServerUnreachable: ``listen`` cannot be bound.
        CodecUnavailable: a codec is unknown or lacks its library.
        LocalProtocolError: the account's TLS files cannot be used, ``stun`` is not a STUN URI, or
            an entry of ``callers`` is neither an address, a network nor a host name, or the
            journal cannot be used.
        TypeError: an argument has the wrong type.
        RuntimeError: Trio is not running.
    """
    check_phone(account, listen, ports, rules, drain)
    rng = rng or random.SystemRandom()
    audio_formats(codecs)
    if ice is None and account is not None:
        ice = account.ice
    reach = Reach(stun, ice, rng)
    gate = Callers(
        ("anyone" if account is None else ()) if callers is None else callers,
        strangers=strangers,
        max_calls=max_calls,
        screen=screen,
    )
    book = Journal(journal, account.address if account else None) if journal else None
    # Open until the drain is over, because the farewells are confirmed during the drain.
    with book or nullcontext():
        async with open_endpoint(
            listen if shared is None else shared.carriers,
            drain=drain,
            screen=gate.screen,
            rng=rng,
            tls=account.tls if account else None,
            websocket_path=account.websocket_path if account else "/ws",
            resolver=resolver,
        ) as endpoint:
            phone = Phone(
                endpoint,
                account,
                ports=ports,
                codecs=codecs,
                reach=reach,
                callers=gate,
                rules=rules,
                silence_suppression=silence_suppression,
                patience=Patience(no_sound_after, give_up_after),
                rng=rng,
            )
            if book is not None:
                endpoint.agent.on_session_changed = book.note
            if shared is not None:
                shared.attach(endpoint, phone._dialling.identity, gate)
            async with open_scope() as nursery:
                nursery.start_soon(phone._run, book)
                yield phone
                nursery.cancel_scope.cancel()
