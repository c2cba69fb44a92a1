"""The server of an application, which answers with TwiML and is told how calls get on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio
from quart import Response, request
from quart_trio import QuartTrio

from spech.web.connections import Connections
from spech.web.http import bind, serve_app


@dataclass
class Asked:
    """One request."""

    method: str
    url: str
    path: str
    form: dict[str, str]
    signature: str | None


@dataclass
class Server:
    """Answers each path with a document, or with a status and nothing else.

    Attributes:
        url: of the server, without a path.
        answers: by path: TwiML without its root, bytes as they are, or a status. ``{url}`` in TwiML
            stands for the URL.
        asked: the requests so far.
    """

    url: str
    answers: dict[str, str | bytes | int] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    came: trio.Event = field(default_factory=trio.Event)

    def note(self, asked: Asked) -> Response:
        """Answer a request."""
        self.asked.append(asked)
        self.came.set()
        self.came = trio.Event()
        answer = self.answers.get(asked.path, 404)
        if isinstance(answer, int):
            return Response("", answer)
        if isinstance(answer, bytes):
            return Response(answer, content_type="application/octet-stream")
        text = f"<Response>{answer.replace('{url}', self.url)}</Response>"
        return Response(text, content_type="text/xml")

    async def request(self, path: str, count: int = 1) -> Asked:
        """Wait for so many requests of a path; the last of them."""
        with trio.fail_after(10):
            while len(found := [one for one in self.asked if one.path == path]) < count:
                await self.came.wait()
        return found[count - 1]


@asynccontextmanager
async def application_server(**answers: str | bytes | int) -> AsyncIterator[Server]:
    """A server for a block; the names of the arguments are its paths."""
    app = QuartTrio(__name__, static_folder=None)
    listener = await bind("127.0.0.1", 0)
    server = Server(f"http://127.0.0.1:{listener.socket.getsockname()[1]}")
    server.answers |= {f"/{name}": answer for name, answer in answers.items()}

    @app.route("/<path:path>", methods=["GET", "POST"])
    async def answer(path: str) -> Response:
        values = await request.form if request.method == "POST" else request.args
        return server.note(
            Asked(
                request.method,
                request.url,
                request.path,
                values.to_dict(),
                request.headers.get("X-Twilio-Signature"),
            )
        )

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_app, app, listener, Connections(), 1 << 16)
        yield server
        nursery.cancel_scope.cancel()
