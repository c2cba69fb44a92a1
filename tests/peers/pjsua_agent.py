"""A telephone on PJSIP (pjsua2), driven by commands in JSON on standard input, a line each.

Runs under the interpreter of a separate environment, which has ``pjsua2`` and no Spech; see
``pjsip.py`` for the other side. Events go to standard output, a line each. There is one call at a
time, and those that a transfer makes.
"""

from __future__ import annotations

import json
import select
import sys
from typing import Any

import pjsua2 as pj

# ruff: noqa: N802, methods of pjsua2

PORT, CODEC, ENCRYPTION, TONE = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]


def tell(event: str, **fields: Any) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


class Call(pj.Call):
    def __init__(self, account: Account, call_id: int = pj.PJSUA_INVALID_ID) -> None:
        super().__init__(account, call_id)
        self.account = account

    def onCallState(self, prm: pj.OnCallStateParam) -> None:
        info = self.getInfo()
        tell("state", call=self.getId(), state=info.stateText, status=info.lastStatusCode)
        if info.state == pj.PJSIP_INV_STATE_DISCONNECTED:
            self.account.calls.remove(self)

    def onCallMediaState(self, prm: pj.OnCallMediaStateParam) -> None:
        info = self.getInfo()  # Its parts do not outlive it.
        for number, media in enumerate(info.media):
            if media.type == pj.PJMEDIA_TYPE_AUDIO:
                status = media.status
                held = status == pj.PJSUA_CALL_MEDIA_REMOTE_HOLD
                active = status == pj.PJSUA_CALL_MEDIA_ACTIVE
                if active:
                    self.account.player.startTransmit(self.getAudioMedia(number))
                tell("media", call=self.getId(), active=active, held=held)

    def onDtmfDigit(self, prm: pj.OnDtmfDigitParam) -> None:
        tell("digit", digit=prm.digit)

    def onCallTransferRequest(self, prm: pj.OnCallTransferRequestParam) -> None:
        new = Call(self.account)
        self.account.calls.append(new)
        prm.newCall = new
        tell("transfer", target=prm.dstUri)

    def onCallReplaced(self, prm: pj.OnCallReplacedParam) -> None:
        tell("replaced")

    def onCallTransferStatus(self, prm: pj.OnCallTransferStatusParam) -> None:
        tell("progress", status=prm.statusCode, final=prm.finalNotify)


class Account(pj.Account):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.player = pj.AudioMediaPlayer()

    def onIncomingCall(self, prm: pj.OnIncomingCallParam) -> None:
        call = Call(self, prm.callId)
        self.calls.append(call)
        answer = pj.CallOpParam()
        answer.statusCode = 200
        call.answer(answer)


def start() -> Account:
    settings = pj.EpConfig()
    settings.uaConfig.threadCnt = 0
    settings.uaConfig.mainThreadOnly = True
    settings.logConfig.level = settings.logConfig.consoleLevel = 0
    settings.medConfig.noVad = True
    settings.medConfig.clockRate = 16000
    settings.medConfig.ecTailLen = 0
    endpoint.libCreate()
    endpoint.libInit(settings)
    transport = pj.TransportConfig()
    transport.port = PORT
    transport.boundAddress = transport.publicAddress = "127.0.0.1"
    endpoint.transportCreate(pj.PJSIP_TRANSPORT_UDP, transport)
    endpoint.libStart()
    endpoint.audDevManager().setNullDev()
    for codec in endpoint.codecEnum2():
        endpoint.codecSetPriority(codec.codecId, 255 if codec.codecId == CODEC else 0)
    settings = pj.AccountConfig()
    settings.idUri = f"sip:pjsua@127.0.0.1:{PORT}"
    settings.mediaConfig.transportConfig.boundAddress = "127.0.0.1"
    settings.mediaConfig.transportConfig.port = PORT + 2
    settings.mediaConfig.transportConfig.portRange = 16
    if ENCRYPTION == "sdes":
        settings.mediaConfig.srtpUse = pj.PJMEDIA_SRTP_MANDATORY
        settings.mediaConfig.srtpSecureSignaling = 0
    account = Account()
    account.create(settings)
    return account


class Commands:
    def __init__(self, account: Account) -> None:
        self.account = account
        self.recorder: Any = None

    def call(self, target: str) -> None:
        call = Call(self.account)
        self.account.calls.append(call)
        call.makeCall(target, pj.CallOpParam(True))

    def record(self, path: str) -> None:
        """Record the newest call into a new file."""
        self.recorder = pj.AudioMediaRecorder()
        self.recorder.createRecorder(path)
        self.account.calls[-1].getAudioMedia(-1).startTransmit(self.recorder)

    def stop(self) -> None:
        self.recorder = None
        tell("stopped")

    def dial(self, digits: str) -> None:
        self.account.calls[-1].dialDtmf(digits)

    def hold(self) -> None:
        self.account.calls[-1].setHold(pj.CallOpParam(True))

    def resume(self) -> None:
        again = pj.CallOpParam(True)
        again.opt.flag = pj.PJSUA_CALL_UNHOLD
        self.account.calls[-1].reinvite(again)

    def transfer(self, target: str) -> None:
        self.account.calls[0].xfer(target, pj.CallOpParam())

    def connect(self) -> None:
        """Connect the far ends of the first call and the second (attended transfer)."""
        first, second = self.account.calls[:2]
        first.xferReplaces(second, pj.CallOpParam())

    def hang_up(self) -> None:
        for call in self.account.calls:
            call.hangup(pj.CallOpParam())


endpoint = pj.Endpoint()
account = start()
account.player.createPlayer(TONE)
commands = Commands(account)
tell("codecs", names=[codec.codecId for codec in endpoint.codecEnum2()])
while True:
    endpoint.libHandleEvents(5)
    if select.select([sys.stdin], [], [], 0)[0]:
        line = sys.stdin.readline()
        if not line:
            break
        name, *arguments = json.loads(line)
        getattr(commands, name)(*arguments)
commands.hang_up()
for _ in range(40):
    endpoint.libHandleEvents(5)
del account.player
endpoint.libDestroy()
