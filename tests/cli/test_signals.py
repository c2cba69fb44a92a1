"""A signal to a process with several calls: every far end gets a farewell."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from functools import partial

import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketRequest, serve_websocket

from spech import Call, CallFailed, Phone, PortRange, open_phone
from spech.sip.message.message import Request, response_to
from spech.sip.message.parser import parse

PORTS = PortRange(37_400, 37_439)
SPECH = [sys.executable, "-m", "spech"]


async def swallow(request: WebSocketRequest) -> None:
    """A bot that receives and sends nothing."""
    connection = await request.accept()
    with contextlib.suppress(ConnectionClosed):
        while True:
            await connection.get_message()


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def bridge_process(port: int) -> AsyncIterator[trio.Process]:
    """``spech bridge``, listening on ``port``, each call carried to a bot."""
    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve_websocket, swallow, "127.0.0.1", 0, None))
        url = f"ws://127.0.0.1:{server.port}/"
        command = [*SPECH, "bridge", "--listen", f"127.0.0.1:{port}", "--websocket", url]
        run = partial(trio.run_process, command, stdout=subprocess.DEVNULL, check=False)
        process: trio.Process = await nursery.start(run)
        try:
            yield process
        finally:
            nursery.cancel_scope.cancel()


async def call_until_ended(phone: Phone, target: str, up: list[Call]) -> None:
    async with phone.call(target) as call:
        await call.answered(timeout=10)
        up.append(call)
        await call.ended()


async def await_listening(phone: Phone, target: str) -> None:
    """The process needs a moment to start; until then its port refuses each call at once."""
    with trio.fail_after(20):
        while True:
            try:
                async with phone.call(target) as call:
                    await call.answered()
                    return
            except CallFailed as refused:
                assert refused.status == 503  # noqa: PT017 - Anything but a closed port is a fault.
                await trio.sleep(0.1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_every_call_with_a_bye(number: signal.Signals) -> None:
    port = free_port()
    target = f"sip:bot@127.0.0.1:{port}"
    up: list[Call] = []
    async with (
        bridge_process(port) as process,
        open_phone(listen=("127.0.0.1", 0), ports=PORTS) as phone,
    ):
        await await_listening(phone, target)
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(call_until_ended, phone, target, up)
                while len(up) < 5:  # noqa: ASYNC110 - Five calls, no one event.
                    await trio.sleep(0.05)
                process.send_signal(number)
            await process.wait()
    assert [(call.ended_by, call.status) for call in up] == [("remote", 200)] * 5
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", port))


async def test_a_dead_far_end_does_not_delay_the_exit() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        target = f"sip:nobody@127.0.0.1:{silent.getsockname()[1]}"
        async with trio.open_nursery() as nursery:
            run = partial(
                trio.run_process,
                [*SPECH, "call", target, "-v"],
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                env={**os.environ, "COLUMNS": "200"},
            )
            process: trio.Process = await nursery.start(run)
            await trio.lowlevel.wait_readable(silent)
            process.send_signal(signal.SIGTERM)
            with trio.fail_after(15):  # The drain is limited to 5 s.
                await process.wait()
        assert silent.recv(65_535).startswith(b"INVITE")
        assert process.returncode == 1


async def test_a_second_signal_ends_the_process_at_once() -> None:
    """The far end rings and answers no CANCEL, so that the first signal waits for the drain."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        target = f"sip:nobody@127.0.0.1:{silent.getsockname()[1]}"
        async with trio.open_nursery() as nursery:
            run = partial(
                trio.run_process, [*SPECH, "call", target], capture_stdout=True, check=False
            )
            process: trio.Process = await nursery.start(run)
            invite, source = await receive(silent, b"INVITE")
            request = parse(invite)
            assert isinstance(request, Request)
            silent.sendto(bytes(response_to(request, 180, to_tag="t")), source)
            await trio.sleep(0.5)  # Without a provisional response there is no CANCEL.
            process.send_signal(signal.SIGTERM)
            await receive(silent, b"CANCEL")
            process.send_signal(signal.SIGTERM)
            with trio.fail_after(10):
                await process.wait()
        assert process.returncode == -signal.SIGTERM


async def receive(peer: socket.socket, beginning: bytes) -> tuple[bytes, tuple[str, int]]:
    """The next datagram that begins so."""
    with trio.fail_after(20):
        while True:
            await trio.lowlevel.wait_readable(peer)
            data, source = peer.recvfrom(65_535)
            if data.startswith(beginning):
                return data, source
