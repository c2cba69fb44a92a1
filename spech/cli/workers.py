"""Runs ``spech bridge``: alone, as the front of ``--workers N``, or as one of its workers."""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import trio

from spech import Account, Phone, RegistrationFailed, ServerUnreachable, SpechError, open_phone
from spech.bridge.bridge import Bridge
from spech.bridge.records import CallListener
from spech.cli.control import ControlPlane
from spech.cli.failure import REGISTRATION_SECONDS, Unreachable
from spech.cli.options import data_folder
from spech.cli.output import Output
from spech.front.channel import Channel
from spech.front.front import Front, open_front
from spech.front.messages import ApiRequest, DrainWorker, StopWorker, ToWorker
from spech.front.processes import open_workers
from spech.front.worker import WorkerLine, open_line
from spech.phone.journal import adopt
from spech.phone.opening import MEDIA_PORTS
from spech.phone.running import spare_collections
from spech.scopes import open_scope
from spech.sip.transaction.flow import host_port

if TYPE_CHECKING:
    from spech.bridge.twilio.application import Application

_log: Final = logging.getLogger(__name__)

BridgeOpener = Callable[
    [CallListener, Callable[[float], None] | None],
    AbstractAsyncContextManager[tuple[Bridge, "Application | None"]],
]
"""Makes a bridge, and what its calls over Twilio's interface ask, for a block.

It takes what is told each change of a call, and each measured interruption."""


@dataclass(frozen=True)
class BridgeSetup:
    """What the options of ``spech bridge`` say about SIP, and how the bridge itself is made."""

    account: Account | None
    listen: tuple[str, int] | None
    codecs: tuple[str, ...]
    stun: str | None
    callers: tuple[str, ...]
    max_calls: int | None
    drain: float
    control: ControlPlane
    output: Output
    open_bridge: BridgeOpener

    @property
    def address(self) -> tuple[str, int]:
        """Where to listen."""
        return self.listen or ("0.0.0.0", 0)

    def journal(self, worker: int = 0, workers: int = 1) -> Path | None:
        """The journal of a bridge, which ends the calls of a killed predecessor.

        There is one file for each account, address and worker. The first takes over those of a
        predecessor with more workers. A bridge without account and address, on any free port, has
        no predecessor and no journal.

        Raises:
            LocalProtocolError: it cannot be used.
        """
        if self.account is None and (self.listen is None or not self.listen[1]):
            return None
        account = None if self.account is None else self.account.address
        named = f"{account} {self.listen}"
        name = hashlib.sha256(named.encode()).hexdigest()[:16]
        folder = data_folder() / "journals"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        first = folder / f"bridge-{name}"
        if worker:
            return folder / f"{first.name}-{worker}"
        others = folder.glob(f"{first.name}-[0-9]*")
        left = [one for one in others if int(one.name.rpartition("-")[2]) >= workers]
        if left:
            adopt(first, left, account)
        return first

    async def announce(self, line: Phone | Front) -> None:
        """Wait for the registration, and tell where calls are taken.

        Raises:
            Unreachable: there is no registration.
        """
        if self.account is not None:
            try:
                await line.registered(timeout=REGISTRATION_SECONDS)
            except (RegistrationFailed, ServerUnreachable) as error:
                raise Unreachable(error) from error
            address = self.account.address
            self.output.tell(f"registered as {address}", event="registered", account=address)
        listening = host_port(line.address)
        self.output.tell(f"taking calls at {listening}", event="listening", address=listening)


async def drain_at_signal(
    bridge: Bridge | Front, seconds: float, serving: trio.CancelScope
) -> None:
    """At SIGTERM, wait for the end of the calls, and then end the bridge."""
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        await anext(signals)
    # A second signal ends everything: it is caught where the first one usually is.
    with trio.move_on_after(seconds):
        await bridge.drain()
    serving.cancel()


async def serve_alone(setup: BridgeSetup, report: CallListener) -> None:
    """Carry calls in this process, until cancelled.

    Args:
        setup: what the options say.
        report: told each change of each call.

    Raises:
        SpechError: it cannot be started.
    """
    control = setup.control
    on_barge_in = None if control.metrics is None else control.metrics.note_barge_in
    async with AsyncExitStack() as stack:
        opening = setup.open_bridge(report, on_barge_in)
        bridge, application = await stack.enter_async_context(opening)
        phone = await stack.enter_async_context(
            open_phone(
                setup.account,
                listen=setup.address,
                codecs=setup.codecs,
                stun=setup.stun,
                callers=setup.callers,
                max_calls=setup.max_calls,
                journal=setup.journal(),
            )
        )
        nursery = await stack.enter_async_context(open_scope())
        # First of all, because the phone refuses calls that nobody takes.
        nursery.start_soon(bridge.serve, phone)
        await setup.announce(phone)
        if setup.drain:
            nursery.start_soon(drain_at_signal, bridge, setup.drain, nursery.cancel_scope)
        await nursery.start(control.serve, bridge, phone, setup.output, application)


async def serve_front(setup: BridgeSetup, workers: int, report: CallListener) -> None:
    """Own the SIP address and the registration, and keep workers running, until cancelled.

    Args:
        setup: what the options say.
        workers: how many there are.
        report: told each change of each call.

    Raises:
        SpechError: it cannot be started.
    """
    control = setup.control
    async with AsyncExitStack() as stack:
        front = await stack.enter_async_context(
            open_front(
                setup.account,
                workers=workers,
                listen=setup.address,
                callers=setup.callers,
                max_calls=setup.max_calls,
            )
        )
        front.report = report
        if control.metrics is not None:
            front.on_barge_in = control.metrics.note_barge_in
        nursery = await stack.enter_async_context(open_scope())
        # The same program with the same options, so that a worker reads what the front has read.
        command = [sys.executable, *sys.orig_argv[1:], "--worker-channel"]
        await stack.enter_async_context(open_workers(front, command))
        await front.started()
        await setup.announce(front)
        if setup.drain:
            nursery.start_soon(drain_at_signal, front, setup.drain, nursery.cancel_scope)
        if control.metrics is not None:
            from spech.front.api import serve_front_api

            listener = await control.listen(setup.output)
            nursery.start_soon(serve_front_api, front, control.metrics, listener, control.token)
        await trio.sleep_forever()


def run_worker(setup: BridgeSetup, descriptor: int) -> None:
    """Carry calls for the front at the other end of a channel, until it says otherwise.

    The front alone obeys signals, because those of a terminal or a service manager reach all.

    Args:
        setup: what the options say.
        descriptor: the worker's end of the channel.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    spare_collections()
    try:
        trio.run(_work, setup, socket.socket(fileno=descriptor))
    except SpechError as error:
        raise click.ClickException(str(error)) from error


async def _work(setup: BridgeSetup, end: socket.socket) -> None:
    line = await open_line(Channel[ToWorker](end, ToWorker), _lost)
    account, control = setup.account, setup.control
    on_barge_in = None if control.metrics is None else line.note_barge_in
    async with AsyncExitStack() as stack:
        opening = setup.open_bridge(line.report, on_barge_in)
        bridge, application = await stack.enter_async_context(opening)
        phone = await stack.enter_async_context(
            open_phone(
                None if account is None else replace(account, register=False),
                ports=line.part_of(MEDIA_PORTS),
                codecs=setup.codecs,
                stun=setup.stun,
                callers=setup.callers,
                max_calls=setup.max_calls,
                journal=setup.journal(line.welcome.index, line.welcome.count),
                shared=line,
            )
        )
        nursery = await stack.enter_async_context(open_scope())
        nursery.start_soon(bridge.serve, phone)
        await trio.lowlevel.checkpoint()
        line.ready()
        await _obey(line, bridge, phone, control, application, nursery)


async def _obey(
    line: WorkerLine,
    bridge: Bridge,
    phone: Phone,
    control: ControlPlane,
    application: Application | None,
    nursery: trio.Nursery,
) -> None:
    """Carry out what the front asks, until it asks to stop."""
    if control.metrics is not None:
        from spech.bridge.api.app import create_api
        from spech.front.api import answer_request

        app = create_api(bridge, phone, control.metrics, control.token, control.sounds, application)

    async def answer(asked: ApiRequest) -> None:
        line.answer(await answer_request(app, asked))

    async for order in line.orders:
        match order:
            case ApiRequest():
                nursery.start_soon(answer, order)
            case DrainWorker():
                nursery.start_soon(bridge.drain)
            case StopWorker():
                nursery.cancel_scope.cancel()


def _lost() -> None:
    """The front has gone, so nobody can be told that calls end: the next process does it."""
    _log.error("the front has gone")
    os._exit(1)
