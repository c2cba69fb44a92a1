"""Kamailio at the other end: a registrar and proxy that records its route, over UDP, TCP and
WebSocket, on loopback. It can lead the media through rtpengine.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_START_SECONDS = 10.0
_LOG = "kamailio.log"

_CONFIG = """
log_stderror=yes
children=1
tcp_children=2
auto_aliases=no
enable_tls=no
tcp_accept_no_cl=yes
listen=udp:{host}:{port}
listen=tcp:{host}:{port}
mpath="{modules}"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "siputils.so"
loadmodule "textops.so"
loadmodule "nathelper.so"
loadmodule "xhttp.so"
loadmodule "websocket.so"
modparam("usrloc", "db_mode", 0)
modparam("nathelper|registrar", "received_avp", "$avp(RECEIVED)")
modparam("xhttp", "url_match", "^/ws")
{more_modules}
request_route {{
{strictness}
    if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
    force_rport();
    if (has_totag()) {{
        if (loose_route()) {{
            handle_ruri_alias();
{relaying}
            t_relay();
            exit;
        }}
        if (is_method("ACK")) {{ if (t_check_trans()) {{ t_relay(); }} exit; }}
        sl_send_reply("404", "Not Here");
        exit;
    }}
    if (is_method("CANCEL")) {{ if (t_check_trans()) {{ t_relay(); }} exit; }}
    if (is_method("REGISTER")) {{
        # Who comes by a connection is reached by it.
        fix_nated_register();
        if (!save("location")) {{ sl_reply_error(); }}
        exit;
    }}
    if (is_method("INVITE")) {{
        record_route();
        if (proto != UDP) {{ add_contact_alias(); }}
    }}
    if (!lookup("location")) {{ sl_send_reply("404", "Not Found"); exit; }}
{relaying}
    t_relay();
}}

reply_route {{
    if (proto != UDP) {{ add_contact_alias(); }}
{relaying_answers}
}}

event_route[xhttp:request] {{
    if ($hdr(Upgrade) =~ "websocket" && ws_handle_handshake()) {{ exit; }}
    xhttp_reply("404", "Not Found", "", "");
}}
"""

#: Topology hiding replaces the names in Contact and Via; each nonce is valid for a second, with a
#: growing count.
_STRICT_MODULES = """
loadmodule "auth.so"
loadmodule "topoh.so"
modparam("auth", "nonce_expire", 1)
modparam("auth", "nonce_count", 1)
modparam("auth", "qop", "auth")
modparam("topoh", "mask_key", "loopback")
modparam("topoh", "mask_ip", "10.1.1.10")
"""
_STRICT_ROUTE = """
    if (is_method("REGISTER")) {{
        if (!pv_www_authenticate("$td", "{password}", "0")) {{ www_challenge("$td", "1"); exit; }}
    }} else if (!is_method("ACK|CANCEL")) {{
        if (!pv_proxy_authenticate("$fd", "{password}", "0")) {{
            proxy_challenge("$fd", "1");
            exit;
        }}
        consume_credentials();
    }}
"""

#: With rtpengine, the target user determines the encryption of that leg.
_RELAY_MODULES = """
loadmodule "sdpops.so"
loadmodule "rtpengine.so"
modparam("rtpengine", "rtpengine_sock", "udp:{host}:{relay}")
"""
_RELAY_ROUTE = """
    if (is_method("BYE|CANCEL")) {
        rtpengine_delete();
    } else if (sdp_content()) {
        if ($rU == "dtls") {
            rtpengine_offer("replace-origin ICE=remove UDP/TLS/RTP/SAVP");
        } else if ($rU == "sdes") {
            rtpengine_offer("replace-origin ICE=remove RTP/SAVP DTLS=off");
        } else {
            rtpengine_offer("replace-origin ICE=remove RTP/AVP");
        }
    }
"""
_RELAY_ANSWERS = """
    if (sdp_content()) { rtpengine_answer("replace-origin ICE=remove"); }
"""


def available() -> bool:
    """Whether Kamailio and its WebSocket module are installed."""
    return shutil.which("kamailio") is not None and bool(modules())


def modules() -> str:
    """The folder of its modules, "" where it is not installed."""
    for folder in Path("/usr/lib").glob("*/kamailio/modules"):
        if (folder / "websocket.so").exists():
            return str(folder)
    return ""


@contextmanager
def running(
    directory: Path,
    port: int,
    host: str = "127.0.0.1",
    *,
    password: str | None = None,
    relay: int | None = None,
) -> Iterator[None]:
    """Run it while the block runs: SIP over UDP and TCP on ``port``, WebSocket there at ``/ws``.

    With ``password`` it is a strict one: it asks both ends of a call for it, at each request, and
    hides them from each other (over UDP and TCP).

    With ``relay``, the UDP port that controls rtpengine on the same host, the media of each call
    goes through rtpengine. A leg to the user ``dtls`` or ``sdes`` is encrypted this way, a leg to
    another user is plain.

    Raises:
        RuntimeError: it did not start; the message is its own output.
    """
    config = directory / "kamailio.cfg"
    more = [_STRICT_MODULES] if password is not None else []
    if relay is not None:
        more.append(_RELAY_MODULES.format(host=host, relay=relay))
    config.write_text(
        _CONFIG.format(
            host=host,
            port=port,
            modules=modules(),
            more_modules="".join(more),
            strictness=_STRICT_ROUTE.format(password=password) if password is not None else "",
            relaying=_RELAY_ROUTE if relay is not None else "",
            relaying_answers=_RELAY_ANSWERS if relay is not None else "",
        )
    )
    with started(directory, config) as process:
        _await_start(process, host, port, directory / _LOG)
        yield


@contextmanager
def started(directory: Path, config: Path, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run it with the file ``config`` and ``more`` arguments while the block runs."""
    # The kernel ends it if this process dies without leaving the block.
    command = ["setpriv", "--pdeathsig", "TERM"]
    command += ["kamailio", "-f", str(config), "-Y", str(directory), "-DD", "-E", "-m", "16", *more]
    with (
        (directory / _LOG).open("wb") as output,
        subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        ) as process,
    ):
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def _await_start(process: subprocess.Popen[bytes], host: str, port: int, log: Path) -> None:
    give_up = time.monotonic() + _START_SECONDS
    while time.monotonic() < give_up and process.poll() is None:
        try:
            socket.create_connection((host, port), 0.1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"Kamailio did not start:\n{log.read_text(errors='replace')[-2000:]}")
