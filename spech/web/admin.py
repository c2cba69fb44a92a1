"""The admin socket: how commands of this machine talk to the server that uses a data folder.

It is the Unix socket ``admin.sock`` in the folder, for the server's user (and root) only. A client
sends one request as a line of JSON and reads the replies, a line of JSON each, the last of which is
`Served` or `NotServed`. A client that closes its end gives up: what it has asked for is cancelled.
No reply holds the password of a SIP account.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import trio

from spech.errors import SpechError
from spech.phone.checkup import Step, open_checkup
from spech.scopes import open_scope
from spech.web.line import Line
from spech.web.messages.accounts import RegistrationPhase
from spech.web.people import People
from spech.web.store import ADMINISTRATOR
from spech.web.trial import library_account

_log: Final = logging.getLogger(__name__)

NAME: Final = "admin.sock"
#: Bytes of a request, seconds until it is complete, and requests that are served at once.
MAX_REQUEST: Final = 4096
REQUEST_SECONDS: Final = 5.0
MAX_REQUESTS: Final = 8


class _Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type"):
    """A line of JSON."""


class ListAccounts(_Message, frozen=True, tag="list_accounts"):
    """Requests a `Listed` for each account."""


class CheckAccount(_Message, frozen=True, tag="check_account"):
    """Requests a `Checked` for each step of a check-up of the person's account with this id.

    ``echo`` is the number to call in the last step, None for no call.
    """

    account: str
    echo: str | None = None
    person: str = ADMINISTRATOR


class MakeLink(_Message, frozen=True, tag="make_link"):
    """Requests a `SignInLink` for the person with this name."""

    person: str = ADMINISTRATOR


class ListPeople(_Message, frozen=True, tag="list_people"):
    """Requests a `Known` for everyone but the administrator."""


class AddPerson(_Message, frozen=True, tag="add_person"):
    """Requests that a person be added, and a `NewPassword`."""

    name: str


class ResetPerson(_Message, frozen=True, tag="reset_person"):
    """Requests a `NewPassword` for a person, who is signed out everywhere."""

    name: str


class RemovePerson(_Message, frozen=True, tag="remove_person"):
    """Requests that a person be removed, with accounts and recordings."""

    name: str


class Known(_Message, frozen=True, tag="person"):
    """A person."""

    name: str


class NewPassword(_Message, frozen=True, tag="password"):
    """The password of a person, which is told once."""

    password: str


class SignInLink(_Message, frozen=True, tag="link"):
    """An address of the page that signs in once, within two minutes."""

    url: str


class Listed(_Message, frozen=True, tag="account"):
    """An account with the state of its registration.

    ``id`` and ``person`` are for `CheckAccount`.
    """

    id: str
    address: str
    transport: str
    state: RegistrationPhase
    reason: str
    person: str


class Checked(_Message, frozen=True, tag="step"):
    """A step of a check-up."""

    step: Step


class NotServed(_Message, frozen=True, tag="failed"):
    """The request could not be served, for this reason."""

    text: str


class Served(_Message, frozen=True, tag="done"):
    """All replies have been sent."""


AdminRequest = (
    ListAccounts | CheckAccount | MakeLink | ListPeople | AddPerson | ResetPerson | RemovePerson
)
AdminAnswer = Listed | Checked | SignInLink | Known | NewPassword
AdminReply = AdminAnswer | NotServed | Served


# ---------------------------------------------------------------------- the server's end


@contextmanager
def open_admin_socket(folder: Path) -> Iterator[trio.SocketListener]:
    """Listen in a data folder while the block runs. Only the holder of its lock may do so.

    The socket of a server that was killed is replaced.

    Raises:
        SpechError: the folder can hold no socket, or its path is too long for one.
    """
    path = folder / NAME
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as bound:
        try:
            path.unlink(missing_ok=True)
            with _short_path(folder) as short:
                bound.bind(short)
        except OSError as error:
            raise SpechError(
                f"The data folder {folder} cannot hold a Unix socket: "
                f"{error.strerror or error}. Choose another folder with --data."
            ) from error
        try:
            # Nobody can connect before listen().
            path.chmod(0o600)
            bound.listen(MAX_REQUESTS)
            bound.setblocking(False)
            with trio.socket.from_stdlib_socket(bound) as listening:
                yield trio.SocketListener(listening)
        finally:
            path.unlink(missing_ok=True)


class AdminServer:
    """Serves the requests of commands.

    Args:
        people: whom they ask about.
        make_link: makes the address of a `SignInLink` for the person with an id.
    """

    def __init__(self, people: People, make_link: Callable[[str], str]) -> None:
        self._people = people
        self._make_link = make_link
        self._open = 0

    async def serve(self, listener: trio.SocketListener) -> None:
        """Serve clients until cancelled. An error in a request ends its connection only."""
        await trio.serve_listeners(self._serve_client, [listener])

    async def _serve_client(self, stream: trio.SocketStream) -> None:
        if self._open == MAX_REQUESTS:
            await trio.aclose_forcefully(stream)
            return
        self._open += 1
        try:
            await self._converse(stream)
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # The client has gone.
        except* Exception as group:
            _log.error("a request at the admin socket failed", exc_info=group)
        finally:
            self._open -= 1

    async def _converse(self, stream: trio.SocketStream) -> None:
        async with stream:
            line = b""
            with trio.move_on_after(REQUEST_SECONDS):
                line = await _read_line(stream)
            try:
                request = msgspec.json.decode(line, type=AdminRequest)
            except (msgspec.DecodeError, UnicodeDecodeError):
                await _reply(stream, NotServed("The request is not understood."))
                return
            async with open_scope() as nursery:
                nursery.start_soon(_cancel_at_end, stream, nursery.cancel_scope)
                try:
                    await self._answer(request, stream)
                except SpechError as error:
                    await _reply(stream, NotServed(str(error)))
                nursery.cancel_scope.cancel()

    async def _answer(self, request: AdminRequest, stream: trio.SocketStream) -> None:
        match request:
            case ListAccounts():
                for person, switchboard in self._people:
                    for line in tuple(switchboard.lines):
                        await _reply(stream, _listed(line, person.name))
            case CheckAccount(account, echo, person=name):
                await self._check(self._line(name, account), echo, stream)
            case MakeLink(name):
                await _reply(stream, SignInLink(self._make_link(self._people.id_of(name))))
            case ListPeople():
                for person, _ in self._people:
                    if person.id != ADMINISTRATOR:
                        await _reply(stream, Known(person.name))
            case AddPerson(name):
                await _reply(stream, NewPassword(await self._people.add(name)))
            case ResetPerson(name):
                await _reply(stream, NewPassword(await self._people.reset(name)))
            case RemovePerson(name):
                await self._people.remove(name)
        await _reply(stream, Served())

    def _line(self, person: str, account: str) -> Line:
        switchboard = self._people.switchboard(self._people.id_of(person))
        assert switchboard is not None
        return switchboard.lines.choose(account)

    async def _check(self, line: Line, echo: str | None, stream: trio.SocketStream) -> None:
        if line.phone is None:
            closed = Step(
                "registration",
                False,
                "The phone is not open. {reason}",
                "Try again in a moment, or look at the server's log.",
                {"reason": line.state.registration.reason},
            )
            await _reply(stream, Checked(closed))
            return
        account = library_account(line.account)
        async with open_checkup(account, echo=echo, phone=line.phone) as steps:
            async for step in steps:
                await _reply(stream, Checked(step))


def _listed(line: Line, person: str) -> Listed:
    account, registration = line.account, line.state.registration
    return Listed(
        account.id,
        account.address,
        account.transport,
        registration.state,
        registration.reason,
        person,
    )


async def _read_line(stream: trio.SocketStream) -> bytes:
    """The first line, or what has come of it when the client stops sending; b"" if too long."""
    line = b""
    while b"\n" not in line and len(line) <= MAX_REQUEST:
        piece = await stream.receive_some(MAX_REQUEST)
        if not piece:
            break
        line += piece
    return line.partition(b"\n")[0] if len(line) <= MAX_REQUEST else b""


async def _cancel_at_end(stream: trio.SocketStream, scope: trio.CancelScope) -> None:
    """Cancel the work when the client has gone."""
    while await stream.receive_some(MAX_REQUEST):
        pass
    scope.cancel()


async def _reply(stream: trio.SocketStream, reply: AdminReply) -> None:
    await stream.send_all(msgspec.json.encode(reply) + b"\n")


# ---------------------------------------------------------------------- the command's end


def ask_server(folder: Path, request: AdminRequest) -> Iterator[AdminAnswer] | None:
    """Ask the server that uses ``folder``; None if there is none. Blocks.

    Returns:
        The replies as they arrive.

    Raises:
        SpechError: this user may not ask the server; while iterating: the request failed, or the
            server has ended.
    """
    if not folder.is_dir() or not hasattr(socket, "AF_UNIX"):
        return None
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short_path(folder) as short:
            connection.connect(short)
    except OSError as error:
        connection.close()
        if isinstance(error, (FileNotFoundError, ConnectionRefusedError)):
            return None
        raise SpechError(
            f"The Spech server that uses {folder} cannot be asked: {error.strerror or error}. "
            "Run the command as the server's user."
        ) from error
    return _replies(connection, request)


def _replies(connection: socket.socket, request: AdminRequest) -> Iterator[AdminAnswer]:
    with connection, connection.makefile("rb") as lines:
        try:
            connection.sendall(msgspec.json.encode(request) + b"\n")
            for line in lines:
                match msgspec.json.decode(line, type=AdminReply):
                    case Served():
                        return
                    case NotServed(text):
                        raise SpechError(text)
                    case reply:
                        yield reply
        except (OSError, msgspec.DecodeError) as error:
            raise SpechError(f"The Spech server cannot be asked: {error}.") from error
    raise SpechError("The Spech server has ended the connection.")


@contextmanager
def _short_path(folder: Path) -> Iterator[str]:
    """The path of the socket in ``folder`` as ``bind`` and ``connect`` take it.

    They take 107 bytes at most, so on Linux the path leads through a descriptor of the folder.
    """
    if not hasattr(os, "O_PATH"):
        yield str(folder / NAME)
        return
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{NAME}"
    finally:
        os.close(descriptor)
