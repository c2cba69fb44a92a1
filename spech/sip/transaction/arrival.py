"""How a request reached us: what identifies its copies, and where its responses go."""

from __future__ import annotations

from dataclasses import replace

from spech.addresses import numeric
from spech.sip.message.ids import Identifiers
from spech.sip.message.message import Request
from spech.sip.transaction.flow import Flow


def origin(request: Request) -> tuple[str, str | None, int]:
    """What stays the same in a request that reaches us by two ways."""
    return request.call_id, request.from_.tag, request.cseq.number


def answer_tag(ids: Identifiers, request: Request) -> str:
    """The To tag of an answer that leaves no state.

    It is the same for each copy of the request, as RFC 3261 8.2.7 asks for.
    """
    # As written: a request that breaks the rules is answered as well.
    values = (request.headers.get(name) for name in ("Via", "From", "Call-ID", "CSeq"))
    return ids.tag_for(*(value or "" for value in values))


def traced(request: Request, flow: Flow) -> tuple[Request, Flow]:
    """Note where a request came from, and where its responses go.

    RFC 3261 18.2.1 and 18.2.2, RFC 3581 4: ``received`` and ``rport`` are filled in; without
    ``rport``, responses go to the source address at the port that the Via names.
    """
    via = request.via
    host, port = flow.remote
    marked = via
    if via.rport is not None:
        marked = marked.with_parameter("rport", str(port)).with_parameter("received", host)
    elif not _same_host(via.host, host):
        marked = marked.with_parameter("received", host)
    if via.rport is None and not flow.reliable:
        flow = replace(flow, remote=(host, via.port or 5060))
    if marked is not via:
        first, *rest = request.headers.values("Via")
        del first
        headers = request.headers.remove("Via")
        for value in reversed([str(marked), *rest]):
            headers = headers.prepend("Via", value)
        request = request.replace(headers=headers)
    return request, flow


def _same_host(name: str, host: str) -> bool:
    address = numeric(name)
    return address is not None and address == numeric(host)
