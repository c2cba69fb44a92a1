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
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import trio

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

#: Seconds for the registration and for the answer to OPTIONS.
_PATIENCE: Final = 10.0
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
_FULL_SCALE: Final = 32768.0


@dataclass(frozen=True, slots=True)
class Step:
    """The result of one step.

    Attributes:
        name: "name", "connection", "certificate", "registration", "options" or "echo".
        passed: whether it passed.
        text: what was found, in one line.
        advice: what to change, "" if it passed.
    """

    name: str
    passed: bool
    text: str
    advice: str = ""


class _StepFailed(Exception):
    """Ends the check-up with a failed step."""

    def __init__(self, name: str, text: str, advice: str) -> None:
        super().__init__(name, text, advice)
        self.step = Step(name, False, text, advice)


@asynccontextmanager
async def open_checkup(
    account: Account,
    *,
    echo: str | None = None,
    phone: Phone | None = None,
    codecs: Sequence[str] = ("PCMU", "PCMA"),
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
        resolver: finds servers; by default through the machine's own name servers.
    """
    resolver = resolver or Resolver(random.SystemRandom())
    send, receive = trio.open_memory_channel[Step](0)
    async with open_scope() as nursery:
        nursery.start_soon(_run, account, echo, phone, codecs, resolver, send)
        with receive:
            yield receive
        nursery.cancel_scope.cancel()


async def _run(
    account: Account,
    echo: str | None,
    phone: Phone | None,
    codecs: Sequence[str],
    resolver: Resolver,
    send: trio.MemorySendChannel[Step],
) -> None:
    with send, suppress(trio.BrokenResourceError):  # Nobody wants to know any more.
        try:
            carrier = await _reach(account, resolver, send)
            own = open_phone(
                replace(account, register=True), codecs=codecs, drain=1.0, resolver=resolver
            )
            async with own if phone is None else nullcontext(phone) as opened:
                await _use(opened, carrier, echo, send)
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
            "name", str(error), "Check the spelling of the server, and the DNS of this machine."
        ) from error
    found = ", ".join(str(_flow_to(target)) for target in targets)
    await send.send(Step("name", True, f"{hop.host} leads to {found}"))
    failures = []
    for target in targets:
        if target.transport == "udp":
            return target
        try:
            async with connect(_flow_to(target)):
                pass
        except (OSError, trio.TooSlowError) as error:
            failures.append(f"{_flow_to(target)} {_fault(error)}")
            continue
        await send.send(Step("connection", True, f"connected to {_flow_to(target)}"))
        if target.transport in ("tls", "wss"):
            await send.send(await _check_certificate(account, target))
        return target
    raise _StepFailed(
        "connection",
        "; ".join(failures),
        "Check the port and the transport, and firewalls between this machine and the server.",
    )


def _flow_to(target: Target) -> Flow:
    anywhere = "::" if ":" in target.address[0] else "0.0.0.0"
    return Flow(target.transport, (anywhere, 0), target.address, target.host)


async def _check_certificate(account: Account, target: Target) -> Step:
    try:
        async with TlsConnector(account.tls).open_stream(_flow_to(target)) as stream:
            encoded: bytes = stream.getpeercert(binary_form=True)
    except (OSError, trio.BrokenResourceError, trio.TooSlowError, SpechError) as error:
        advice = _tls_advice(error, target.host, account.tls)
        raise _StepFailed("certificate", _fault(error), advice) from error
    return Step("certificate", True, _describe(encoded))


def _fault(error: BaseException) -> str:
    """What went wrong with a connection, in words."""
    if isinstance(error, trio.TooSlowError):
        return "does not answer"
    if isinstance(error, trio.BrokenResourceError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    if isinstance(error, ConnectionRefusedError):
        return "refuses the connection"
    return getattr(error, "strerror", None) or str(error) or "has closed the connection"


def _tls_advice(error: BaseException, host: str, tls: TlsSettings) -> str:
    if isinstance(error.__cause__, ssl.SSLCertVerificationError):
        return (
            f"The server needs a certificate for {host} from an authority that this machine "
            "trusts. Use the server's name as its certificate has it, or add its authority to "
            "this machine."
        )
    if isinstance(error, LocalProtocolError):
        return "Check the files of the account's TLS settings."
    if tls.fingerprint is not None:
        return "Check the fingerprint and the port; the server may have a new certificate."
    return "Check that the port is the server's port for TLS, usually 5061."


def _describe(encoded: bytes) -> str:
    """Whose certificate it is, who issued it, and until when it is valid."""
    # Loaded here, because most accounts use no TLS.
    from cryptography import x509

    try:
        certificate = x509.load_der_x509_certificate(encoded)
        owner, issuer = (
            displayable(name.rfc4514_string()) for name in (certificate.subject, certificate.issuer)
        )
        until = certificate.not_valid_after_utc
    except ValueError:  # Unusual, but its verification has succeeded.
        return "trusted"
    return f"trusted: {owner or 'no name'}, issued by {issuer}, valid until {until:%Y-%m-%d}"


# ---------------------------------------------------------------------- what the server does


async def _use(
    phone: Phone, carrier: Target, echo: str | None, send: trio.MemorySendChannel[Step]
) -> None:
    """Register, ask for OPTIONS, and call the echo."""
    reached = Step("connection", True, f"{_flow_to(carrier)} answers")
    by_datagrams = carrier.transport == "udp"
    try:
        await phone.registered(timeout=_PATIENCE)
    except ServerUnreachable as error:
        raise _StepFailed(
            "connection" if by_datagrams else "registration",
            str(error),
            "Check the port and the transport, and firewalls between this machine and the server."
            if by_datagrams
            else "Check that the port belongs to a SIP server.",
        ) from error
    except RegistrationFailed as error:
        if by_datagrams:
            await send.send(reached)
        text, advice = _refusal(error, phone.account)
        raise _StepFailed("registration", text, advice) from error
    if by_datagrams:
        await send.send(reached)
    await send.send(Step("registration", True, "registered"))
    await send.send(await _ask_options(phone))
    if echo is not None:
        await send.send(await _call_echo(phone, echo))


def _refusal(error: RegistrationFailed, account: Account | None) -> tuple[str, str]:
    """Why the registrar refused, and what to change."""
    said = displayable(str(error))
    if error.status in (401, 407):
        if account is None or account.password is None:
            return f"The server asks for a password ({said}).", "Set the password."
        return (
            f"The server does not accept the user or the password ({said}).",
            "Check both; capitals matter.",
        )
    if error.status == 403:
        return (
            f"The server forbids this account to register ({said}).",
            "Check the password, then ask the provider whether the account is active and may "
            "register from here.",
        )
    if error.status == 404:
        return (
            f"The server does not know this user or domain ({said}).",
            "Check the user and the server; a provider's domain may differ from its proxy.",
        )
    if error.status >= 500:
        return f"The server is out of order ({said}).", "Try again later, or ask the provider."
    return f"The server refused the registration ({said}).", "Ask the provider for the reason."


async def _ask_options(phone: Phone) -> Step:
    try:
        with trio.fail_after(_PATIENCE):
            status = await phone.ping()
    except (RequestFailed, ServerUnreachable, trio.TooSlowError):
        return Step(
            "options",
            False,
            "The server does not answer OPTIONS.",
            "Calls may work, but a server that dies is noticed late. Ask the provider.",
        )
    return Step("options", True, f"answered with {status}")


async def _call_echo(phone: Phone, number: str) -> Step:
    try:
        async with phone.call(number) as call:
            await call.answered(timeout=_ANSWER_SECONDS)
            with call.open_audio(_RATE) as port, trio.move_on_after(_ECHO_SECONDS):
                await _hear_tone(port)
                return Step("echo", True, f"{number} returned the tone over {call.codec}")
            received = call.statistics.received
    except CallFailed as error:
        raise _StepFailed(
            "echo",
            f"The call to {number} was not answered ({displayable(str(error))}).",
            "Check the number.",
        ) from error
    except CallEnded as error:
        raise _StepFailed(
            "echo", f"{number} hung up before the tone came back.", "Check the number."
        ) from error
    except LocalProtocolError as error:
        raise _StepFailed("echo", str(error), "Check the number.") from error
    except SpechError as error:
        raise _StepFailed("echo", str(error), "Try again.") from error
    if received == 0:
        raise _StepFailed(
            "echo",
            f"{number} answered, but no sound arrives.",
            "Open the UDP ports 10000 to 19999 for RTP, or use a STUN server behind a NAT.",
        )
    raise _StepFailed(
        "echo",
        f"{number} answered and sound arrives, but the tone does not come back.",
        "Check that the number is an echo test, and that the server receives RTP from here.",
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
