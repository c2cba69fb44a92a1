"""A server of AudioSocket behind Asterisk's app_audiosocket and behind ``spech bridge``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import trio

from spech import Call, open_phone
from spech.testing.asterisk import Asterisk
from spech.testing.audio import assert_tone, sine
from spech.testing.talk import talk
from spech.testing.waiting import until

from ..bridge.bots import bridged

_DIALPLAN = """
[phones]
exten = 700,1,Answer()
same = n,AudioSocket(40325ec2-5efd-4bd3-805f-53576e581d13,127.0.0.1:{port})
"""
_MODULES = ("res_audiosocket", "app_audiosocket")
_HANG_UP, _UUID, _DIGIT, _SOUND = 0x00, 0x01, 0x03, 0x10


class Server:
    """Echoes sound, hangs up after the digit ``#``, and notes what comes."""

    def __init__(self) -> None:
        self.port = 0
        self.messages: list[tuple[int, bytes]] = []
        self.over = False

    async def serve(self, stream: trio.SocketStream) -> None:
        left = b""
        with suppress(trio.BrokenResourceError):
            while data := await stream.receive_some():
                left += data
                while len(left) >= 3 and len(left) >= (end := 3 + int.from_bytes(left[1:3])):
                    await self._take(stream, left[:end])
                    left = left[end:]
        self.over = True

    async def _take(self, stream: trio.SocketStream, message: bytes) -> None:
        kind, payload = message[0], message[3:]
        self.messages.append((kind, payload))
        if kind == _SOUND:
            await stream.send_all(message)
        elif payload == b"#":
            await stream.send_all(bytes(3))

    @property
    def told(self) -> list[tuple[int, bytes]]:
        """What was told besides sound; identifiers differ."""
        messages = (one for one in self.messages if one[0] != _SOUND)
        return [(kind, b"" if kind == _UUID else payload) for kind, payload in messages]


@asynccontextmanager
async def server() -> AsyncIterator[Server]:
    serving = Server()
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(
            partial(trio.serve_tcp, serving.serve, 0, host="127.0.0.1")
        )
        serving.port = listener.socket.getsockname()[1]
        yield serving
        nursery.cancel_scope.cancel()


async def converse(call: Call, serving: Server, *, by_bot: bool) -> None:
    """Hear the echo, press keys, and end the call from one side."""
    await call.answered(timeout=10)
    with call.open_audio() as port:
        heard = await talk(port, sine(1000, 8000, 1, level=-12), 2)
    assert_tone(heard[-6000:], 8000, 1000, level=-12)
    call.send_dtmf("5#" if by_bot else "5")
    if by_bot:
        with trio.fail_after(10):
            await call.ended()
    else:
        await until(lambda: (_DIGIT, b"5") in serving.messages)
        call.hang_up()
    await until(lambda: serving.over)


async def behind_asterisk(*, by_bot: bool) -> Server:
    async with server() as serving:
        dialplan = _DIALPLAN.format(port=serving.port)
        with Asterisk(dialplan=dialplan, modules=_MODULES) as pbx:
            async with (
                open_phone(pbx.account(), listen=("127.0.0.1", 0)) as phone,
                phone.call("700") as call,
            ):
                await converse(call, serving, by_bot=by_bot)
    return serving


async def behind_spech(*, by_bot: bool) -> Server:
    async with (
        server() as serving,
        bridged(f"tcp://127.0.0.1:{serving.port}", protocol="audiosocket") as bridge,
        bridge.phone.call(bridge.address) as call,
    ):
        await converse(call, serving, by_bot=by_bot)
    return serving


async def test_a_server_of_audiosocket_is_told_the_same_by_both(pbx: Asterisk) -> None:
    for by_bot in (True, False):
        theirs, ours = await behind_asterisk(by_bot=by_bot), await behind_spech(by_bot=by_bot)
        assert ours.told == theirs.told
        for one in (theirs, ours):
            assert one.messages[0][0] == _UUID
            assert len(one.messages[0][1]) == 16
            assert {len(payload) for kind, payload in one.messages if kind == _SOUND} == {320}
