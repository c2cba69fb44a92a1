"""Calls an echo test again and again, and shows Prometheus how the calls went.

http://127.0.0.1:PORT/metrics counts the calls by outcome, and has the time until the answer, the
quality and the loss of the last ones. It needs prometheus-client, which `spech[bridge]` brings.

usage: monitor.py NUMBER PORT [SECONDS-BETWEEN-CALLS]
"""

import os
import sys
from typing import Final

import trio
from prometheus_client import Counter, Gauge, Histogram, start_http_server

import spech
from spech import Account, Phone, SpechError, open_phone

CALLS: Final = Counter("monitor_calls", "Test calls, by outcome.", ["outcome"])
SETUP: Final = Histogram("monitor_setup_seconds", "From the INVITE to the answer.")
QUALITY: Final = Gauge("monitor_mos", "Estimated quality of the last call, 1 to 4.5.")
LOSS: Final = Gauge("monitor_loss_percent", "Packets that the last call lost.")


async def probe(phone: Phone, number: str) -> str:
    """Call once; the outcome: "good", "silent", or the status of a failure."""
    try:
        async with phone.call(number) as call:
            began = trio.current_time()
            await call.answered(timeout=20)
            SETUP.observe(trio.current_time() - began)
            call.play_tone("ringback")
            await trio.sleep(1.5)
            measured = call.statistics
    except spech.SipFailure as failed:
        return str(failed.status)
    except SpechError as error:
        return type(error).__name__
    QUALITY.set(measured.mos or 1)
    LOSS.set(measured.total_loss_percent)
    return "good" if measured.received else "silent"


async def main(number: str, port: int, interval: float) -> None:
    account = Account(os.environ["SPECH_ACCOUNT"], password=os.environ.get("SPECH_SIP_PASSWORD"))
    start_http_server(port, "127.0.0.1")
    async with open_phone(account) as phone:
        while True:
            outcome = await probe(phone, number)
            CALLS.labels(outcome).inc()
            print(outcome, flush=True)
            await trio.sleep(interval)


number, port, interval = [*sys.argv[1:], "60"][:3]
spech.run(main, number, int(port), float(interval))
