"""A host name in place of an address in a session description (RFC 8866 5.7)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import trio

from spech import open_phone
from spech.agreement import Agreed
from spech.sip.description.offer_answer import Negotiator

from ..sip.name_server import open_name_server, resolver_for

NAME = "media.example.test"


def name_the_media(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Answers come with ``name`` in their c= line."""
    read: Callable[[Negotiator, bytes], Agreed] = Negotiator.receive_answer

    def receive(self: Negotiator, body: bytes) -> Agreed:
        agreed = read(self, body)
        port = agreed.remote[1]
        return replace(agreed, remote=("0.0.0.0", port), remote_name=name)

    monkeypatch.setattr(Negotiator, "receive_answer", receive)


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([(f"{NAME}.", "A", "127.0.0.9")], "127.0.0.9"),
        ([], "127.0.0.1"),  # The source of signalling; symmetric RTP corrects the address.
        ([("other.test.", "A", "127.0.0.9")], "127.0.0.1"),
    ],
)
async def test_the_name_is_resolved_while_the_call_continues(
    monkeypatch: pytest.MonkeyPatch, records: list[tuple[str, str, str]], expected: str
) -> None:
    name_the_media(monkeypatch, NAME)
    async with (
        open_name_server(*records) as server,
        open_phone(listen=("127.0.0.1", 0), resolver=resolver_for(server)) as caller,
        open_phone(listen=("127.0.0.1", 0)) as called,
        trio.open_nursery() as nursery,
    ):

        async def answer() -> None:
            async for incoming in called.incoming_calls():
                async with incoming.answer() as call:
                    await call.ended()
                return

        nursery.start_soon(answer)
        async with caller.call(f"sip:x@127.0.0.1:{called.address[1]}") as call:
            await call.answered(timeout=5)
            driver = call._driver
            for _ in range(200 if expected == "127.0.0.9" else 50):
                if driver._agreed is not None and driver._agreed.remote[0] == expected:
                    break
                await trio.sleep(0.01)
            assert driver._agreed is not None
            assert driver._agreed.remote[0] == expected
            assert call.state == "answered"


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("fd00::2", "127.0.0.1"),  # A host with both IP versions, as linphone names it.
        ("127.0.0.9", "127.0.0.9"),
        ("::", "::"),  # A hold.
    ],
)
async def test_media_on_the_other_ip_version_goes_to_the_host_of_signalling(
    monkeypatch: pytest.MonkeyPatch, named: str, expected: str
) -> None:
    read: Callable[[Negotiator, bytes], Agreed] = Negotiator.receive_answer

    def receive(self: Negotiator, body: bytes) -> Agreed:
        agreed = read(self, body)
        return replace(agreed, remote=(named, agreed.remote[1]))

    monkeypatch.setattr(Negotiator, "receive_answer", receive)
    async with (
        open_phone(listen=("127.0.0.1", 0)) as caller,
        open_phone(listen=("127.0.0.1", 0)) as called,
        trio.open_nursery() as nursery,
    ):

        async def answer() -> None:
            async with (await anext(called.incoming_calls())).answer() as call:
                await call.ended()

        nursery.start_soon(answer)
        async with caller.call(f"sip:x@127.0.0.1:{called.address[1]}") as call:
            await call.answered(timeout=5)
            agreed = call._driver._agreed
            assert agreed is not None
            assert agreed.remote[0] == expected
