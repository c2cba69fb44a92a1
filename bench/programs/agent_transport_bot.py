"""The bot of examples/echo_bot.py on agent-transport: a thread for each call, as in its examples.

Runs under the interpreter of an environment that has ``agent_transport`` and no Spech.

python agent_transport_bot.py

SPECH_ACCOUNT and SPECH_SIP_PASSWORD name the account.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from agent_transport import SipEndpoint


def echo(endpoint: Any, session: str) -> None:
    while True:
        try:
            heard = endpoint.recv_audio_bytes_blocking(session, 20)
            if heard is not None:
                sound, rate, channels = heard
                endpoint.send_audio_bytes(session, bytes(sound), rate, channels)
        except RuntimeError:  # The call has ended.
            return


def main() -> None:
    user, _, server = os.environ["SPECH_ACCOUNT"].removeprefix("sip:").partition("@")
    endpoint = SipEndpoint(sip_server=server, stun_server="127.0.0.1:9", log_level=0)
    endpoint.register(user, os.environ["SPECH_SIP_PASSWORD"])
    while True:
        event = endpoint.wait_for_event(timeout_ms=1000) or {}
        if event.get("type") == "registered":
            print("registered", flush=True)
        elif event.get("type") == "call_answered":
            session = event["session"].session_id
            threading.Thread(target=echo, args=(endpoint, session), daemon=True).start()


main()
