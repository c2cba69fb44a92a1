"""Keeps the account registered: finds its registrar, watches connections and networks."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal

import trio

from spech.errors import RegistrationFailed, ServerUnreachable
from spech.phone.account import Account, instance_of
from spech.scopes import open_scope
from spech.sip.dialog.identity import Identity
from spech.sip.endpoint import Endpoint
from spech.sip.message.uri import Uri
from spech.sip.registration import Registration, RegistrationState
from spech.sip.timeline import Entry
from spech.sip.transaction.flow import Flow

#: Seconds between attempts to find the registrar's address.
_LOOK_UP_AGAIN: Final = 15.0
#: Seconds between checks whether the machine was suspended or is on another network.
_LOOK_AROUND: Final = 5.0
_REMEMBERED_FAULTS: Final = 100


_StateName = Literal["off", "registering", "registered", "failed"]


@dataclass(frozen=True, slots=True)
class RegistrationStatus:
    """The state of the account's registration.

    ``state`` is "off", "registering", "registered" or "failed"; ``status`` and ``reason`` are those
    of the registrar's last response, 408 if it did not respond; ``expires_at`` is in seconds of
    ``trio.current_time()``.
    """

    state: _StateName
    status: int | None = None
    reason: str = ""
    expires_at: float | None = None


_STATES: Final[dict[RegistrationState, _StateName]] = {
    RegistrationState.REGISTERING: "registering",
    RegistrationState.REGISTERED: "registered",
    RegistrationState.FAILED: "failed",
    RegistrationState.REMOVED: "off",
}


class AccountBinding:
    """Keeps one account registered. The user agent refreshes; this class resolves and watches.

    ``flows_to`` finds the servers for requests to the registrar.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        account: Account,
        identity: Identity,
        flows_to: Callable[[Uri], Awaitable[list[Flow]]],
        rng: random.Random,
    ) -> None:
        #: The current state.
        self.status = RegistrationStatus("registering")
        self._endpoint = endpoint
        self._account = account
        self._identity = identity
        self._flows_to = flows_to
        self._rng = rng
        self._changed = trio.Event()
        self._registration: Registration | None = None
        self._unreachable: ServerUnreachable | None = None
        #: The flow over which the registrar reaches us.
        self._bound: Flow | None = None
        self._due = trio.Event()
        #: Why connections broke recently.
        self._faults: dict[Flow, str] = {}

    @property
    def timeline(self) -> tuple[Entry, ...]:
        """The messages of the registration, in order; those of the latest refreshes."""
        if self._registration is None:
            return ()
        return self._endpoint.agent.timeline.entries(self._registration.call_id)

    async def made(self, timeout: float | None) -> None:
        """Wait until the account is registered. See :meth:`spech.Phone.registered`."""
        with trio.move_on_after(float("inf") if timeout is None else timeout):
            while self.status.state == "registering":
                await self.changed()
        if self.status.state == "registered":
            return
        if self._unreachable is not None:
            raise self._unreachable
        if self.status.state == "registering":
            host = self._account.uri.host
            raise ServerUnreachable(f"{host} did not answer within {timeout:g} s.")
        raise RegistrationFailed(self.status.status or 408, self.status.reason)

    async def changed(self) -> None:
        """Wait for the next change of :attr:`status`."""
        await self._changed.wait()

    def _set(self, status: RegistrationStatus) -> None:
        self.status = status
        self._changed.set()
        self._changed = trio.Event()

    # ------------------------------------------------------------------ refreshing

    async def run(self) -> None:
        """Find the registrar, register, and stay registered until cancelled."""
        uri = self._account.uri
        registrar = Uri(uri.scheme, None, uri.host, uri.port)
        flows = await self._find(registrar)
        with self._endpoint.command() as (agent, now):
            self._registration = registration = agent.register(
                self._identity,
                registrar,
                flows,
                now,
                expires=self._account.expires,
                instance=instance_of(self._account),
            )
        async with open_scope() as nursery:
            nursery.start_soon(self._refresh, registration)
            nursery.start_soon(self._look_around, registration)

    async def _refresh(self, registration: Registration) -> None:
        """Resolve the registrar's name before each refresh and each further attempt."""
        while True:
            await self._due.wait()
            self._due = trio.Event()
            await self._renew(registration)

    async def _look_around(self, registration: Registration) -> None:
        """Register again after the machine was suspended, or when it is on another network."""
        slept = _seconds_asleep()
        while True:
            await trio.sleep(_LOOK_AROUND)
            before, slept = slept, _seconds_asleep()
            if slept - before > 1.0 or self._endpoint.moved(registration.flow):
                await self._renew(registration)

    async def _renew(self, registration: Registration) -> None:
        try:
            flows = await self._flows_to(registration.registrar)
        except ServerUnreachable:
            # Use the server's last known addresses, from our current address.
            flows = [self._endpoint.present(flow) for flow in registration.flows]
        with self._endpoint.command() as (_, now):
            registration.register(flows, now)

    async def _find(self, registrar: Uri) -> list[Flow]:
        while True:
            try:
                return await self._flows_to(registrar)
            except ServerUnreachable as error:
                self._unreachable = error
                self._set(RegistrationStatus("failed", None, str(error)))
                await trio.sleep(_LOOK_UP_AGAIN)

    # ------------------------------------------------------------------ events

    def receive_broken(self, flow: Flow, reason: str) -> None:
        """Remember why a connection broke. The user agent is notified separately."""
        self._faults[flow] = reason
        while len(self._faults) > _REMEMBERED_FAULTS:
            del self._faults[next(iter(self._faults))]

    def receive_due(self) -> None:
        """Resolve the registrar's name again, because the user agent wants to register."""
        self._due.set()

    def receive_registration(self, registration: Registration) -> None:
        """Handle a change of the registration."""
        self._unreachable = None
        if self._bound is not None:
            self._endpoint.release(self._bound)
            self._bound = None
        if registration.state is RegistrationState.REGISTERED:
            self._bound = registration.flow
            self._endpoint.keep(self._bound)
        reason = registration.reason
        fault = None
        if registration.state in (RegistrationState.REGISTERING, RegistrationState.FAILED):
            fault = self._faults.pop(registration.flow, None)
        if registration.state is RegistrationState.REGISTERING and fault:
            reason = f"Connection {fault}."
        if registration.state is RegistrationState.FAILED and not registration.answered:
            host = registration.registrar.host
            self._unreachable = ServerUnreachable(
                f"{host} cannot be reached: {fault}." if fault else f"{host} does not answer."
            )
        self._set(
            RegistrationStatus(
                _STATES[registration.state],
                registration.status,
                reason,
                registration.expires_at,
            )
        )


def _seconds_asleep() -> float:
    """Seconds that this machine has been suspended since boot; other clocks stop meanwhile."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return 0.0 if boot is None else time.clock_gettime(boot) - time.monotonic()
