"""The bot of examples/echo_bot.py on PJSIP (pjsua2), whose sound passes through Python.

Runs under the interpreter of an environment that has ``pjsua2`` and no Spech.

python pjsua_bot.py

SPECH_ACCOUNT and SPECH_SIP_PASSWORD name the account.
"""

from __future__ import annotations

import os

import pjsua2 as pj

# ruff: noqa: N802, methods of pjsua2

ADDRESS, PASSWORD = os.environ["SPECH_ACCOUNT"], os.environ["SPECH_SIP_PASSWORD"]


class Echo(pj.AudioMediaPort):
    """Sends back each frame when the next one is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.frame = pj.ByteVector()
        format = pj.MediaFormatAudio()
        format.type = pj.PJMEDIA_TYPE_AUDIO
        format.clockRate, format.channelCount, format.bitsPerSample = 8000, 1, 16
        format.frameTimeUsec = 20_000
        self.createPort("echo", format)

    def onFrameReceived(self, frame: pj.MediaFrame) -> None:
        self.frame = pj.ByteVector(frame.buf)

    def onFrameRequested(self, frame: pj.MediaFrame) -> None:
        frame.type = pj.PJMEDIA_FRAME_TYPE_AUDIO
        frame.buf = self.frame


class Call(pj.Call):
    def __init__(self, account: Account, call_id: int) -> None:
        super().__init__(account, call_id)
        self.account = account
        self.echo = Echo()

    def onCallState(self, prm: pj.OnCallStateParam) -> None:
        if self.getInfo().state == pj.PJSIP_INV_STATE_DISCONNECTED:
            self.account.calls.discard(self)

    def onCallMediaState(self, prm: pj.OnCallMediaStateParam) -> None:
        info = self.getInfo()  # Its parts do not outlive it.
        for number, media in enumerate(info.media):
            if media.type == pj.PJMEDIA_TYPE_AUDIO and media.status == pj.PJSUA_CALL_MEDIA_ACTIVE:
                sound = self.getAudioMedia(number)
                sound.startTransmit(self.echo)
                self.echo.startTransmit(sound)


class Account(pj.Account):
    def __init__(self) -> None:
        super().__init__()
        self.calls: set[Call] = set()

    def onRegState(self, prm: pj.OnRegStateParam) -> None:
        if prm.code == 200:
            print("registered", flush=True)

    def onIncomingCall(self, prm: pj.OnIncomingCallParam) -> None:
        call = Call(self, prm.callId)
        self.calls.add(call)
        answer = pj.CallOpParam()
        answer.statusCode = 200
        call.answer(answer)


def main() -> None:
    endpoint = pj.Endpoint()
    settings = pj.EpConfig()
    settings.uaConfig.threadCnt = 0
    settings.uaConfig.mainThreadOnly = True
    settings.logConfig.level = settings.logConfig.consoleLevel = 0
    settings.medConfig.noVad = True
    settings.medConfig.clockRate = 8000
    settings.medConfig.ecTailLen = 0
    endpoint.libCreate()
    endpoint.libInit(settings)
    transport = pj.TransportConfig()
    transport.boundAddress = transport.publicAddress = "127.0.0.1"
    endpoint.transportCreate(pj.PJSIP_TRANSPORT_UDP, transport)
    endpoint.libStart()
    endpoint.audDevManager().setNullDev()
    user, _, domain = ADDRESS.removeprefix("sip:").partition("@")
    settings = pj.AccountConfig()
    settings.idUri = f"sip:{user}@{domain}"
    settings.regConfig.registrarUri = f"sip:{domain}"
    settings.sipConfig.authCreds.append(pj.AuthCredInfo("digest", "*", user, 0, PASSWORD))
    settings.mediaConfig.transportConfig.boundAddress = "127.0.0.1"
    account = Account()
    account.create(settings)
    while True:
        endpoint.libHandleEvents(20)


main()
