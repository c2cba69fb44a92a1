"""The lamp of a mailbox follows what the server says, asked or not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec
import pytest
import trio
import trio.testing

from spech import Mailbox, MessageCount, Phone, RegistrationStatus, RequestFailed
from spech.web.messages.accounts import VoicemailState
from spech.web.store import StoredAccount
from spech.web.voicemail import watch_voicemail

ACCOUNT = StoredAccount(
    server="pbx.test",
    port=None,
    transport="udp",
    user="alice",
    password="s",
    codecs=("PCMU",),
)


def mailbox(new: int, account: str | None = None) -> Mailbox:
    return Mailbox(new > 0, account, (MessageCount("voice-message", new, 5),))


class Server:
    """A phone as far as the lamp uses it."""

    def __init__(self, *states: Mailbox | Exception) -> None:
        self.registration = RegistrationStatus("registering")
        self.mailbox: Mailbox | None = None
        self.asked: list[str] = []
        self._states = states
        self._changed = trio.Event()

    def change(self, **changes: Any) -> None:
        for name, value in changes.items():
            setattr(self, name, value)
        self._changed.set()
        self._changed = trio.Event()

    async def registration_changed(self) -> None:
        await self._changed.wait()

    async def mailbox_changed(self) -> None:
        await self._changed.wait()

    @asynccontextmanager
    async def subscribe(self, target: str) -> AsyncIterator[AsyncIterator[Mailbox]]:
        self.asked.append(target)
        yield self._tell()

    async def _tell(self) -> AsyncIterator[Mailbox]:
        for state in self._states:
            if isinstance(state, Exception):
                raise state
            yield state
        await trio.sleep_forever()


async def lamps(
    server: Server, nursery: trio.Nursery, account: StoredAccount = ACCOUNT
) -> list[VoicemailState]:
    """What is reported from now on."""
    reported: list[VoicemailState] = []
    nursery.start_soon(watch_voicemail, cast(Phone, server), account, reported.append)
    await trio.testing.wait_all_tasks_blocked()
    assert server.asked == []
    server.change(registration=RegistrationStatus("registered"))
    await trio.testing.wait_all_tasks_blocked()
    assert server.asked == ["sip:alice@pbx.test"]
    return reported


async def test_the_mailbox_is_asked_for_after_the_registration(nursery: trio.Nursery) -> None:
    server = Server(mailbox(2), mailbox(0))
    assert await lamps(server, nursery) == [
        VoicemailState(True, 2, 5, ""),
        VoicemailState(False, 0, 5, ""),
    ]
    nursery.cancel_scope.cancel()


async def test_a_server_that_refuses_may_tell_without_being_asked(nursery: trio.Nursery) -> None:
    server = Server(RequestFailed(489, "Bad Event"))
    reported = await lamps(server, nursery)
    assert reported == []
    server.change(mailbox=mailbox(1))
    await trio.testing.wait_all_tasks_blocked()
    assert reported == [VoicemailState(True, 1, 5, "")]
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("own", "told", "number"),
    [
        ("", "sip:*97@pbx.test", "*97"),
        ("*99", "sip:*97@pbx.test", "*99"),
        ("", "sip:0900123@expensive.test", ""),
        ("", "nonsense", ""),
        ("", None, ""),
    ],
)
async def test_only_a_number_at_the_server_itself_is_called(
    nursery: trio.Nursery, own: str, told: str | None, number: str
) -> None:
    account = msgspec.structs.replace(ACCOUNT, voicemail=own)
    (state,) = await lamps(Server(mailbox(1, told)), nursery, account)
    assert state.number == number
    nursery.cancel_scope.cancel()
