"""What a call of the web page costs `spech serve`: its microphone and speaker, over a WebSocket.

Five people each make a call in PCMU from a page of their own. The pages and the called telephones
are in this process; they send 20 ms of sound every 20 ms.
"""

from __future__ import annotations

import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import trio

from bench import servers
from bench.farend import PageClient, SipPeer
from bench.machine import Window, watching
from bench.parts import Part, Scale, Side, cpu_per_call
from bench.results import Figures, Values
from bench.tables import sides_table
from spech.web.admin import AddPerson, MakeLink, SignInLink, ask_server

_PEOPLE: Final = ("ann", "ben", "cem", "dag", "eve")
_FRAME: Final = 0.02
_SETTLE: Final = 1.5


@contextmanager
def _serving(build: servers.Build) -> Iterator[tuple[int, list[str], int]]:
    """``spech serve``: its process, a link for each person, and the port of the sound."""
    port, audio_port = (servers.free_port(socket.SOCK_STREAM) for _ in range(2))
    with tempfile.TemporaryDirectory(prefix="spech-bench-") as name:
        command = [sys.executable, "-m", "spech", "serve", "--data", name, "--port", str(port)]
        command += ["--audio-port", str(audio_port), "--sip-host", "127.0.0.1"]
        with servers.program(command, build) as process:
            servers.wait_for(lambda: socket.create_connection(("127.0.0.1", port)).close())
            links = [_link(Path(name), person) for person in _PEOPLE]
            yield process.pid, links, audio_port


def _link(folder: Path, person: str) -> str:
    """Add a person; return an address that signs in."""
    for request in (AddPerson(person), MakeLink(person)):
        answers = ask_server(folder, request)
        assert answers is not None
        answer = list(answers)[-1]
    assert isinstance(answer, SignInLink)
    return answer.url


async def _exchange(exchanges: list[Callable[[], None]], seconds: float) -> None:
    next_frame = trio.current_time()
    for _ in range(int(seconds / _FRAME)):
        for exchange in exchanges:
            exchange()
        next_frame += _FRAME
        await trio.sleep_until(next_frame)


async def _measure(process: int, links: list[str], audio_port: int, seconds: float) -> Window:
    async with AsyncExitStack() as stack:
        peer = stack.enter_context(SipPeer())
        pages = [await stack.enter_async_context(PageClient(link, audio_port)) for link in links]
        async with trio.open_nursery() as registrar:
            registrar.start_soon(peer.register)
            for page in pages:
                await page.save_account(peer.port)
            registrar.cancel_scope.cancel()
        exchanges: list[Callable[[], None]] = []
        for page in pages:
            stream = await peer.take_call(page.dial)
            await page.attach()
            exchanges += [stream.exchange, page.exchange]
        await _exchange(exchanges, _SETTLE)
        with watching(process) as window:
            await _exchange(exchanges, seconds)
    return window


def _turn(build: servers.Build, scale: Scale) -> Iterator[tuple[str, Values]]:
    with _serving(build) as (process, links, audio_port):
        window = trio.run(_measure, process, links, audio_port, scale.seconds)
    yield f"{len(_PEOPLE)} calls", cpu_per_call(window, len(_PEOPLE))


def _sides() -> Mapping[str, Side]:
    return {name: partial(_turn, build) for name, build in servers.builds().items()}


def _text(figures: Figures) -> str:
    return sides_table(figures, "pages", "cpu", "CPU per second and call, ms")


PART: Final = Part("page", "calls of the page", 10, _sides, _text)
