"""Twilio's own library, as an application uses it.

Runs in an environment of its own, with the URL of the control plane and the file of the token as
arguments. The client is the one of docs/bots.md. Each line of its input is a JSON array: the name
of a function below, and its arguments as an object. Each line of its output is the JSON of what
came of it.
"""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from twilio.base.exceptions import TwilioRestException
from twilio.request_validator import RequestValidator
from twilio.twiml.voice_response import Connect, Dial, VoiceResponse

URL, TOKEN_FILE = sys.argv[1], Path(sys.argv[2])
TOKEN = TOKEN_FILE.read_text()


DOCUMENT = Path(__file__).parents[2] / "docs" / "bots.md"
BLOCK = re.search(r"^```py\n(.*?)^```$", DOCUMENT.read_text(), re.M | re.S)
assert BLOCK is not None
names: dict[str, Any] = {}
os.chdir(TOKEN_FILE.parent)  # The block reads the file "token".
exec(BLOCK[1].replace("http://127.0.0.1:8090", URL), names)
client = names["client"]


def shown(call: Any) -> dict[str, Any]:
    names = ("sid", "status", "direction", "to", "_from", "duration", "start_time", "end_time")
    return {name.strip("_"): getattr(call, name) for name in names}


def create(**named: Any) -> dict[str, Any]:
    return shown(client.calls.create(**named))


def fetch(sid: str) -> dict[str, Any]:
    return shown(client.calls(sid).fetch())


def update(sid: str, **named: Any) -> dict[str, Any]:
    return shown(client.calls(sid).update(**named))


def validate(url: str, form: dict[str, str], signature: str) -> bool:
    return bool(RequestValidator(TOKEN).validate(url, form, signature))


def stream(url: str, **parameters: str) -> str:
    """A document that connects a bot and then goes on elsewhere."""
    response, connect = VoiceResponse(), Connect()
    bot = connect.stream(url=url)
    for name, value in parameters.items():
        bot.parameter(name=name, value=value)
    response.append(connect)
    response.redirect("/after", method="POST")
    return str(response)


def dial(uri: str) -> str:
    response, dial = VoiceResponse(), Dial(timeout=10, answer_on_bridge=True)
    dial.sip(uri)
    response.append(dial)
    return str(response)


def hang_up() -> str:
    response = VoiceResponse()
    response.hangup()
    return str(response)


FUNCTIONS = {
    function.__name__: function
    for function in (create, fetch, update, validate, stream, dial, hang_up)
}
for line in sys.stdin:
    name, named = json.loads(line)
    result: Any
    try:
        result = FUNCTIONS[name](**named)
    except TwilioRestException as error:
        result = {"error": error.code, "status": error.status}
    print(json.dumps(result, default=str), flush=True)
