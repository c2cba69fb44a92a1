"""How a request reached us: what identifies its copies, and where its responses go."""

from __future__ import annotations

from dataclasses import replace

from spech.addresses import numeric
from spech.sip.message.ids import Identifiers
from spech.sip.message.message import Request
from spech.sip.transaction.flow import Flow


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
    asks_for_port = via.rport is not None
    if asks_for_port:
        marked = via.with_parameters(rport=str(port), received=host)
    elif not _same_host(via.host, host):
        marked = via.with_parameters(received=host)
    if not asks_for_port and not flow.reliable:
        flow = replace(flow, remote=(host, via.port or 5060))
    if marked is not via:
        request = request.with_via(marked)
    return request, flow


def _same_host(name: str, host: str) -> bool:
    address = numeric(name)
    return address is not None and address == numeric(host)
