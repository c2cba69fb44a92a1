"""The calls of a bridge over HTTP: to place them, to look at them, and to act in them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from quart import Blueprint, abort
from quart_schema import validate_request, validate_response

from spech.bridge.bridge import Bridge
from spech.bridge.link import LinkFailed
from spech.bridge.orders import CallOrder
from spech.bridge.recordings import find_sound
from spech.bridge.records import CallRecord, CarriedCall
from spech.errors import LocalProtocolError, PortsExhausted, ServerUnreachable


class TransferOrder(msgspec.Struct, forbid_unknown_fields=True):
    """Whom to connect the caller to: a number or a SIP URI."""

    target: str


class DigitsOrder(msgspec.Struct, forbid_unknown_fields=True):
    """Keys to press: ``0-9 * # A-D``, ``,`` and ``w`` for pauses."""

    digits: str


class PlayOrder(msgspec.Struct, forbid_unknown_fields=True):
    """A sound to play to the far end, over what the bot says.

    Attributes:
        file: a name in the folder of sounds.
        gain: in dB, relative to the recording.
        repeat: play it until it is stopped.
    """

    file: str
    gain: Annotated[float, msgspec.Meta(ge=-60, le=20)] = 0.0
    repeat: bool = False


class RecordOrder(msgspec.Struct, forbid_unknown_fields=True):
    """How to record a call.

    Attributes:
        name: of the file, ending in .wav, .opus or .ogg; the time and the call's name by default.
        stereo: the bot on the left and the far end on the right, in place of both mixed.
    """

    name: str | None = None
    stereo: bool = False


class RecordingBegun(msgspec.Struct):
    """The file into which a call is recorded."""

    name: str


def call_routes(bridge: Bridge, sounds: Path | None) -> Blueprint:
    """What is served below ``/v1/calls``.

    Args:
        bridge: whose calls there are.
        sounds: the folder with what can be played, None for nothing.
    """
    routes = Blueprint("calls", __name__, url_prefix="/v1/calls")

    def find_carried(name: str) -> CarriedCall:
        carried = bridge.ledger.present.get(name)
        if carried is None:
            abort(404, "There is no such call.")
        return carried

    @routes.get("")
    @validate_response(list[CallRecord])
    async def calls() -> list[CallRecord]:
        """The present calls, and the last hundred that have ended."""
        return bridge.ledger.records()

    @routes.post("")
    @validate_request(CallOrder)
    @validate_response(CallRecord, 201)
    async def originate(data: CallOrder) -> tuple[CallRecord, int, dict[str, str]]:
        """Place a call, and connect its bot when it is answered."""
        try:
            record = await bridge.originate(data)
        except (LocalProtocolError, LinkFailed) as error:
            abort(400, str(error))
        except PortsExhausted as error:
            abort(503, str(error))
        except ServerUnreachable as error:
            abort(502, str(error))
        return record, 201, {"Location": f"/v1/calls/{record.id}"}

    @routes.get("/<name>")
    @validate_response(CallRecord)
    async def call(name: str) -> CallRecord:
        """One call."""
        record = bridge.ledger.find(name)
        if record is None:
            abort(404, "There is no such call.")
        return record

    @routes.post("/<name>/hangup")
    async def hang_up(name: str) -> tuple[str, int]:
        """End a call; one that rings is cancelled or rejected."""
        find_carried(name).hang_up()
        return "", 204

    @routes.post("/<name>/transfer")
    @validate_request(TransferOrder)
    async def transfer(name: str, data: TransferOrder) -> tuple[str, int]:
        """Connect the caller to another party (blind transfer); answered when that is done."""
        call = find_carried(name).talking()
        bridge.check_target(data.target)
        await call.transfer(data.target)
        return "", 204

    @routes.post("/<name>/dtmf")
    @validate_request(DigitsOrder)
    async def press(name: str, data: DigitsOrder) -> tuple[str, int]:
        """Press keys in a call."""
        if len(data.digits) > 100:
            abort(400, "These are more than 100 digits.")
        try:
            find_carried(name).talking().send_dtmf(data.digits)
        except ValueError as error:
            abort(400, str(error))
        return "", 204

    @routes.post("/<name>/play")
    @validate_request(PlayOrder)
    async def play(name: str, data: PlayOrder) -> tuple[str, int]:
        """Play a sound to the far end over what the bot says, in place of the sound before."""
        carried = find_carried(name)
        try:
            file = find_sound(sounds, data.file)
        except LocalProtocolError as error:
            abort(400, str(error))
        carried.play(file, gain=data.gain, repeat=data.repeat)
        return "", 204

    @routes.post("/<name>/play/stop")
    async def stop_playing(name: str) -> tuple[str, int]:
        """End the sound that is played."""
        find_carried(name).silence()
        return "", 204

    @routes.post("/<name>/record")
    @validate_request(RecordOrder)
    @validate_response(RecordingBegun, 201)
    async def record(name: str, data: RecordOrder) -> tuple[RecordingBegun, int]:
        """Record a call into a file, until it ends."""
        recorder = find_carried(name).recorder
        if recorder is None:
            abort(409, "The call is not answered.")
        return RecordingBegun(recorder.start(data.name, stereo=data.stereo)), 201

    @routes.post("/<name>/record/stop")
    async def stop_recording(name: str) -> tuple[str, int]:
        """Complete the recording."""
        recorder = find_carried(name).recorder
        if recorder is not None:
            recorder.stop()
        return "", 204

    return routes
