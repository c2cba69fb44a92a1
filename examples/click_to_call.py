"""Click to call: `spech bridge` calls a number, and its bot talks with whoever answers.

    python examples/click_to_call.py http://127.0.0.1:8090 sip:alice@127.0.0.1:5062 order=7

It places the call over HTTP, prints what becomes of it, and exits with 0 if it was answered. The
bridge needs `--api 127.0.0.1:8090`. What follows the number is told to the bot as parameters. It
needs nothing of Spech: any HTTP client in any language serves; see docs/bots.md.
"""

import json
import sys
import time
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen


def ask(url: str, order: Any = None) -> Any:
    """The JSON that is answered: to a POST if there is an order, else to a GET."""
    data = None if order is None else json.dumps(order).encode()
    with urlopen(Request(url, data, {"Content-Type": "application/json"})) as answer:
        return json.load(answer)


def main(api: str, number: str, *parameters: str) -> int:
    order = {"to": number, "parameters": dict(one.split("=", 1) for one in parameters)}
    try:
        call = ask(f"{api}/v1/calls", order)
    except HTTPError as error:
        print("not called:", json.load(error)["error"])
        return 1
    print(call["state"], flush=True)
    while call["state"] != "ended":
        time.sleep(0.2)
        before, call = call, ask(f"{api}/v1/calls/{call['id']}")
        if call["state"] != before["state"]:
            print(call["state"], flush=True)
    print(call["summary"])
    return 0 if call["setup_seconds"] is not None else 1


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: click_to_call.py API NUMBER [NAME=VALUE]...")
    sys.exit(main(*sys.argv[1:]))
