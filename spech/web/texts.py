"""Sentences for people: what a SIP status or an error of a call means."""

from __future__ import annotations

from spech.errors import (
    CallEnded,
    CallFailed,
    LocalProtocolError,
    PeerUnreachable,
    PortsExhausted,
    ServerUnreachable,
    SpechError,
)
from spech.sip.message.display import displayable
from spech.web.messages.calls import By

_TEXTS: dict[int, str] = {
    301: "The number has changed.",
    302: "The number is forwarded to another one.",
    305: "The number can only be reached through another server.",
    400: "The server did not understand the call.",
    401: "The server did not accept the user or the password.",
    402: "The call requires payment.",
    403: "This call is not allowed.",
    404: "This number does not exist.",
    405: "The server does not allow calls to this number.",
    406: "The other side cannot take this kind of call.",
    407: "The server did not accept the user or the password.",
    408: "Nobody answered.",
    410: "This number is no longer in use.",
    413: "The server found the call's data too large.",
    415: "The other side does not know this kind of call.",
    420: "The other side asks for something this phone does not have.",
    421: "The other side asks for something this phone does not have.",
    423: "The server wants a longer registration.",
    480: "Nobody answered.",
    481: "The call was already over.",
    482: "The call was routed in a loop.",
    483: "The call was forwarded too many times.",
    484: "The number is incomplete.",
    485: "The number is ambiguous.",
    486: "The line is busy.",
    487: "The call was cancelled.",
    488: "The two sides have no codec or no encryption in common.",
    491: "Both sides changed the call at the same moment.",
    500: "The server has an internal error.",
    501: "The server cannot place such a call.",
    502: "The server got an invalid response from the next one.",
    503: "The service is not available at the moment.",
    504: "The server got no answer from the next one.",
    505: "The server speaks another version of SIP.",
    513: "The server found the call's data too large.",
    600: "The line is busy everywhere.",
    603: "The call was declined.",
    604: "This number does not exist anywhere.",
    606: "The two sides have no codec or no encryption in common.",
}

_CLASSES: dict[int, str] = {
    3: "The number is forwarded to another one.",
    4: "The call could not be placed.",
    5: "The server cannot place the call at the moment.",
    6: "The call was refused.",
}


def explain(status: int, reason: str = "") -> str:
    """One plain sentence for a final SIP status; ``reason`` is quoted where we know no better."""
    text = _TEXTS.get(status)
    if text is not None:
        return text
    general = _CLASSES.get(status // 100, "The call has failed.")
    phrase = displayable(reason, 80)
    return f"{general} ({status} {phrase})" if phrase else f"{general} ({status})"


def explain_refer(status: int, reason: str = "") -> str:
    """One plain sentence for the status with which a REFER was refused."""
    if status in (403, 405, 501, 603):
        return "The other side does not accept transfers."
    return explain(status, reason)


def in_words(error: BaseException) -> tuple[By, int | None, str]:
    """The side that ended a failed call, its SIP status, and a sentence for people."""
    match error:
        case CallFailed():
            return "remote", error.status, explain(error.status, error.reason)
        case CallEnded():
            return "remote", None, explain(487)
        case ServerUnreachable(unknown_host=True):
            return "remote", None, "The server's name is unknown."
        case ServerUnreachable():
            return "remote", None, "The server does not answer."
        case PeerUnreachable():
            return "local", None, "The sound cannot reach the other side."
        case PortsExhausted():
            return "local", None, "All ports for calls are in use."
        case LocalProtocolError():
            # Of all that dialling is given, only what was typed can be at fault.
            return "local", None, "This is neither a number nor a SIP address."
        case SpechError():
            return "local", None, f"The call could not be placed: {error}"
        case _:
            return "local", None, "The call failed inside the phone."


def first_of(error: BaseException) -> BaseException:
    """The first error of a group: one sentence can report one error."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
