"""Plays a greeting to each caller, then records a message of up to two minutes.

The message ends when the caller hangs up, presses # or is silent for ten seconds. It is sent to a
mail address as well, through the server in SMTP_SERVER (host:port, localhost by default).

usage: answering_machine.py GREETING FOLDER [MAIL-ADDRESS]
"""

import datetime
import os
import smtplib
import sys
import wave
from email.message import EmailMessage
from functools import partial
from pathlib import Path

import trio

import spech
from spech import Account, CallEnded, IncomingCall, open_phone

RATE = 8000


async def take_message(
    incoming: IncomingCall, *, greeting: str, folder: Path, address: str | None
) -> None:
    now = datetime.datetime.now().strftime("%Y-%m-%d %H.%M.%S.%f")
    number = "".join(letter for letter in incoming.caller_number if letter.isalnum())
    try:
        async with incoming.answer() as call:
            call.play(greeting)
            call.beep()
            await call.played()
            message = await call.listen(120, silence=10, rate=RATE)
    except CallEnded:
        print(number, "left no message", flush=True)
        return
    path = folder / f"{now} {number}.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(message.tobytes())
    print(number, "left a message", flush=True)
    if address is not None:
        await trio.to_thread.run_sync(send_mail, address, number, path)


def send_mail(address: str, number: str, path: Path) -> None:
    mail = EmailMessage()
    mail["From"] = mail["To"] = address
    mail["Subject"] = f"Voice message from {number}"
    mail.set_content(f"{number} has left a message.")
    mail.add_attachment(path.read_bytes(), "audio", "wav", filename=path.name)
    try:
        with smtplib.SMTP(os.environ.get("SMTP_SERVER", "localhost"), timeout=30) as server:
            server.send_message(mail)
    except (OSError, smtplib.SMTPException) as error:
        print("mail was not sent:", error, flush=True)


async def main(greeting: str, folder: Path, address: str | None) -> None:
    account = Account(os.environ["SPECH_ACCOUNT"], password=os.environ.get("SPECH_SIP_PASSWORD"))
    async with open_phone(account) as phone:
        await phone.registered(timeout=10)
        print("registered", flush=True)
        await phone.serve(partial(take_message, greeting=greeting, folder=folder, address=address))


messages = Path(sys.argv[2])
messages.mkdir(parents=True, exist_ok=True)
spech.run(main, sys.argv[1], messages, sys.argv[3] if len(sys.argv) > 3 else None)
