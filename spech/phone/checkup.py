"""A check-up: proves the settings of an account step by step.

    async with open_checkup(account, echo="600") as steps:
        async for step in steps:
            print(step.name, step.passed, step.text)

The steps are, in this order:

- "name": the server's name leads to addresses (RFC 3263);
- "connection": the server accepts a connection, or answers over UDP;
- "certificate": over TLS only, its certificate is trusted;
- "registration": the registrar accepts the account;
- "options": the server answers OPTIONS (RFC 3261 11);
- "echo": where a number is given, a call to it returns a tone.

The first step that fails is the last one, because the others depend on it. Only the echo does not
depend on OPTIONS.
"""

from __future__ import annotations

import random
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
    nullcontext,
    suppress,
)
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import trio

from spech.addresses import Address
from spech.audio.tones import tone
from spech.errors import (
    CallEnded,
    CallFailed,
    LocalProtocolError,
    RegistrationFailed,
    RequestFailed,
    ServerUnreachable,
    SpechError,
)
from spech.media.port import AudioPort
from spech.phone.account import Account, route_of, transport_of
from spech.phone.opening import open_phone
from spech.phone.phone import Phone
from spech.scopes import open_scope
from spech.sip.message.display import displayable
from spech.sip.resolver import Resolver
from spech.sip.transaction.flow import Flow, Target
from spech.sip.transport.stream import connect
from spech.sip.transport.tls import TlsConnector, TlsSettings

#: Seconds for the echo call to be answered, and for its echo: an announcement may come first.
_ANSWER_SECONDS: Final = 30.0
_ECHO_SECONDS: Final = 20.0
#: The tone for the echo, in Hz and dBFS, and how it is recognized: the share of the power that it
#: has in a window of so many frames (0.2 s), and the least level in dBFS.
_FREQUENCY: Final = 740.0
_LEVEL: Final = -20.0
_FRAMES: Final = 10
_SHARE: Final = 0.5
_LEAST_LEVEL: Final = -50.0
_RATE: Final = 8000
#: Characters of a value that are shown.
_LONGEST_VALUE: Final = 300

_CHECK_PORT: Final = (
    "Check the port and the transport, and firewalls between this machine and the server."
)
_CHECK_NUMBER: Final = "Check the number."
_FULL_SCALE: Final = 32768.0


@dataclass(frozen=True, slots=True)
class Step:
    """The result of one step.

    Sentences are kept apart from what is put into them, so that they can be translated.

    Attributes:
        name: "name", "connection", "certificate", "registration", "options" or "echo".
        passed: whether it passed.
        finding: what was found, in one sentence, with ``{names}`` of ``values``.
        remedy: what to change, in the same form; "" if it passed.
        values: what the names stand for.
        status: the SIP status that decided on the registration, None where there was none.
    """

    name: str
    passed: bool
    finding: str
    remedy: str = ""
    values: Mapping[str, str] = field(default_factory=dict)
    status: int | None = None

    @property
    def text(self) -> str:
        """What was found, in one line."""
        return self.finding.format_map(self.values)

    @property
    def advice(self) -> str:
        """What to change, "" if it passed."""
        return self.remedy.format_map(self.values)


class _StepFailed(Exception):
    """Ends the check-up with a failed step."""

    def __init__(
        self, name: str, finding: str, remedy: str, status: int | None = None, /, **values: object
    ) -> None:
        super().__init__(name, finding)
        self.step = Step(name, False, finding, remedy, _shown(values), status)


def _passed(name: str, finding: str, **values: object) -> Step:
    return Step(name, True, finding, values=_shown(values))


def _shown(values: Mapping[str, object]) -> dict[str, str]:
    """Values as they may be shown: what peers say is among them."""
    return {name: displayable(str(value), _LONGEST_VALUE) for name, value in values.items()}


@asynccontextmanager
async def open_checkup(
    account: Account,
    *,
    echo: str | None = None,
    phone: Phone | None = None,
    codecs: Sequence[str] = ("PCMU", "PCMA"),
    listen: Address = ("0.0.0.0", 0),
    patience: float = 10.0,
    resolver: Resolver | None = None,
) -> AsyncIterator[AsyncIterator[Step]]:
    """Check ``account`` while the block runs; each step is yielded as soon as it is decided.

    Leaving the block, or cancelling it, ends the check-up, and its call with a farewell.

    Args:
        account: it is registered even if its ``register`` is False.
        echo: a number that returns what it hears, to be called as the last step.
        phone: the phone that has registered the account already. Another registration from this
            machine could replace its own. None opens one for the check-up.
        codecs: of the phone that is opened, in order of preference.
        listen: the address of the phone that is opened.
        patience: seconds for the registration, and for the answer to OPTIONS.
        resolver: finds servers; by default through the machine's own name servers.
    """
    resolver = resolver or Resolver(random.SystemRandom())
    opening = (
        open_phone(
            replace(account, register=True),
            listen=listen,
            codecs=codecs,
            drain=0.5,
            resolver=resolver,
        )
        if phone is None
        else nullcontext(phone)
    )
    send, receive = trio.open_memory_channel[Step](0)
    async with open_scope() as nursery:
        nursery.start_soon(_run, account, echo, opening, patience, resolver, send)
        with receive:
            yield receive
        nursery.cancel_scope.cancel()


async def _run(
    account: Account,
    echo: str | None,
    opening: AbstractAsyncContextManager[Phone],
    patience: float,
    resolver: Resolver,
    send: trio.MemorySendChannel[Step],
) -> None:
    with send, suppress(trio.BrokenResourceError):  # Nobody wants to know any more.
        try:
            carrier = await _reach(account, resolver, send)
            async with opening as phone:
                await _use(phone, carrier, echo, patience, send)
        except _StepFailed as failed:
            await send.send(failed.step)


# ---------------------------------------------------------------------- the way to the server


async def _reach(
    account: Account, resolver: Resolver, send: trio.MemorySendChannel[Step]
) -> Target:
    """Find the server and connect to it; over UDP, the registration shows whether it is there."""
    route = route_of(account)
    hop = account.uri if route is None else route.uri
    try:
        targets = await resolver.resolve(hop, transport_of(account))
    except ServerUnreachable as error:
        raise _StepFailed(
            "name",
            "{error}",
            "Check the spelling of the server, and the DNS of this machine.",
            error=error,
        ) from error
    found = ", ".join(str(_flow_to(target)) for target in targets)
    await send.send(_passed("name", "{host} leads to {addresses}", host=hop.host, addresses=found))
    failures = []
    for target in targets:
        if target.transport == "udp":
            return target
        try:
            async with connect(_flow_to(target)):
                pass
        except (OSError, trio.TooSlowError) as error:
            failures.append((_flow_to(target), *_fault(error)))
            continue
        await send.send(_passed("connection", "connected to {address}", address=_flow_to(target)))
        if target.transport in ("tls", "wss"):
            await send.send(await _check_certificate(account, target))
        return target
    raise _connection_failure(failures)


def _connection_failure(failures: Sequence[tuple[Flow, str, str]]) -> _StepFailed:
    """Why none of the addresses accepts a connection. One reason is enough where there is one."""
    if len({finding for _, finding, _ in failures}) == 1:
        _, finding, error = failures[0]
        addresses = ", ".join(str(flow) for flow, _, _ in failures)
        return _StepFailed("connection", finding, _CHECK_PORT, address=addresses, error=error)
    each = "; ".join(finding.format(address=flow, error=error) for flow, finding, error in failures)
    return _StepFailed("connection", "{error}", _CHECK_PORT, error=each)


def _flow_to(target: Target) -> Flow:
    anywhere = "::" if ":" in target.address[0] else "0.0.0.0"
    return Flow(target.transport, (anywhere, 0), target.address, target.host)


async def _check_certificate(account: Account, target: Target) -> Step:
    flow = _flow_to(target)
    try:
        async with TlsConnector(account.tls).open_stream(flow) as stream:
            encoded: bytes = stream.getpeercert(binary_form=True)
    except (OSError, trio.BrokenResourceError, trio.TooSlowError, SpechError) as error:
        finding, detail = _fault(error)
        remedy = _tls_remedy(error, account.tls)
        raise _StepFailed(
            "certificate", finding, remedy, address=flow, error=detail, host=target.host
        ) from error
    return _certificate_step(encoded)


def _fault(error: BaseException) -> tuple[str, str]:
    """What went wrong with a connection: a finding, and its ``error``."""
    if isinstance(error, trio.TooSlowError):
        return "{address} does not answer", ""
    if isinstance(error, trio.BrokenResourceError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, ssl.SSLCertVerificationError):
        return "the certificate is not trusted: {error}", error.verify_message
    if isinstance(error, ssl.SSLError):
        return "TLS failed: {error}", error.reason or str(error)
    if isinstance(error, ConnectionRefusedError):
        return "{address} refuses the connection", ""
    said = getattr(error, "strerror", None) or str(error)
    return ("{address}: {error}", said) if said else ("{address} has closed the connection", "")


def _tls_remedy(error: BaseException, tls: TlsSettings) -> str:
    if isinstance(error.__cause__, ssl.SSLCertVerificationError):
        return (
            "The server needs a certificate for {host} from an authority that this machine "
            "trusts. Use the server's name as its certificate has it, or add its authority to "
            "this machine."
        )
    if isinstance(error, LocalProtocolError):
        return "Check the files of the account's TLS settings."
    if tls.fingerprint is not None:
        return "Check the fingerprint and the port; the server may have a new certificate."
    return "Check that the port is the server's port for TLS, usually 5061."


def _certificate_step(encoded: bytes) -> Step:
    """Whose certificate it is, who issued it, and until when it is valid."""
    # Loaded here, because most accounts use no TLS.
    from cryptography import x509

    try:
        certificate = x509.load_der_x509_certificate(encoded)
        owner, issuer = (
            name.rfc4514_string() for name in (certificate.subject, certificate.issuer)
        )
        until = f"{certificate.not_valid_after_utc:%Y-%m-%d}"
    except ValueError:  # Unusual, but its verification has succeeded.
        return _passed("certificate", "trusted")
    return _passed(
        "certificate",
        "trusted: {owner}, issued by {issuer}, valid until {until}",
        owner=owner or "–",
        issuer=issuer,
        until=until,
    )


# ---------------------------------------------------------------------- what the server does


async def _use(
    phone: Phone,
    carrier: Target,
    echo: str | None,
    patience: float,
    send: trio.MemorySendChannel[Step],
) -> None:
    """Register, ask for OPTIONS, and call the echo."""
    reached = _passed("connection", "{address} answers", address=_flow_to(carrier))
    by_datagrams = carrier.transport == "udp"
    try:
        await phone.registered(timeout=patience)
    except ServerUnreachable as error:
        raise _StepFailed(
            "connection" if by_datagrams else "registration",
            "{error}",
            _CHECK_PORT if by_datagrams else "Check that the port belongs to a SIP server.",
            error=error,
        ) from error
    except RegistrationFailed as error:
        if by_datagrams:
            await send.send(reached)
        finding, remedy = _refusal(error, phone.account)
        raise _StepFailed("registration", finding, remedy, error.status, said=error) from error
    if by_datagrams:
        await send.send(reached)
    await send.send(_passed("registration", "registered"))
    await send.send(await _ask_options(phone, patience))
    if echo is not None:
        await send.send(await _call_echo(phone, echo))


def _refusal(error: RegistrationFailed, account: Account | None) -> tuple[str, str]:
    """Why the registrar refused, and what to change."""
    if error.status in (401, 407):
        if account is None or account.password is None:
            return "The server asks for a password ({said}).", "Set the password."
        return (
            "The server does not accept the user or the password ({said}).",
            "Check both; capitals matter.",
        )
    if error.status == 403:
        return (
            "The server forbids this account to register ({said}).",
            "Check the password, then ask the provider whether the account is active and may "
            "register from here.",
        )
    if error.status == 404:
        return (
            "The server does not know this user or domain ({said}).",
            "Check the user and the server; a provider's domain may differ from its proxy.",
        )
    if error.status >= 500:
        return "The server is out of order ({said}).", "Try again later, or ask the provider."
    return "The server refused the registration ({said}).", "Ask the provider for the reason."


async def _ask_options(phone: Phone, patience: float) -> Step:
    try:
        with trio.fail_after(patience):
            status = await phone.ping()
    except (RequestFailed, ServerUnreachable, trio.TooSlowError):
        return Step(
            "options",
            False,
            "The server does not answer OPTIONS.",
            "Calls may work, but a server that dies is noticed late. Ask the provider.",
        )
    return _passed("options", "answered OPTIONS with status {status}", status=status)


async def _call_echo(phone: Phone, number: str) -> Step:
    try:
        async with phone.call(number) as call:
            await call.answered(timeout=_ANSWER_SECONDS)
            with call.open_audio(_RATE) as port, trio.move_on_after(_ECHO_SECONDS):
                await _hear_tone(port)
                return _passed(
                    "echo",
                    "{number} returned the tone (codec: {codec})",
                    number=number,
                    codec=call.codec,
                )
            received = call.statistics.received
    except CallFailed as error:
        raise _StepFailed(
            "echo",
            "The call to {number} was not answered ({said}).",
            _CHECK_NUMBER,
            number=number,
            said=error,
        ) from error
    except CallEnded as error:
        raise _StepFailed(
            "echo", "{number} hung up before the tone came back.", _CHECK_NUMBER, number=number
        ) from error
    except LocalProtocolError as error:
        raise _StepFailed("echo", "{error}", _CHECK_NUMBER, error=error) from error
    except SpechError as error:
        raise _StepFailed("echo", "{error}", "Try again.", error=error) from error
    if received == 0:
        raise _StepFailed(
            "echo",
            "{number} answered, but no sound arrives.",
            "Open the UDP ports 10000 to 19999 for RTP, or use a STUN server behind a NAT.",
            number=number,
        )
    raise _StepFailed(
        "echo",
        "{number} answered and sound arrives, but the tone does not come back.",
        "Check that the number is an echo test, and that the server receives RTP from here.",
        number=number,
    )


async def _hear_tone(port: AudioPort) -> None:
    """Send a tone until it comes back.

    Raises:
        CallEnded: the far end hung up.
    """
    wave = tone((_FREQUENCY,), 1.0, _RATE, level=_LEVEL)
    size = port.frame_samples
    heard: list[bytes] = []
    position = 0
    while not _is_tone(heard):
        port.send(wave[position : position + size].tobytes())
        position = (position + size) % len(wave)
        heard = [*heard[1 - _FRAMES :], await port.receive()]


def _is_tone(frames: Sequence[bytes]) -> bool:
    """Whether the frames are full of our tone."""
    if len(frames) < _FRAMES:
        return False
    samples = np.frombuffer(b"".join(frames), dtype="<i2") / _FULL_SCALE
    power = float(np.mean(samples**2))
    if power < 10 ** (_LEAST_LEVEL / 10):
        return False
    angles = 2 * np.pi * _FREQUENCY / _RATE * np.arange(len(samples))
    part = 2 * abs(np.mean(samples * np.exp(-1j * angles))) ** 2
    return bool(part > _SHARE * power)
