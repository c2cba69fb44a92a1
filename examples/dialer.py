"""Calls all numbers of a CSV file, plays them a message, and writes what became of each call.

NUMBERS has a column "number". RESULTS gets a line when a call has ended, so that nothing is lost
if the program is stopped. A second run leaves out the numbers that are in RESULTS.

usage: dialer.py NUMBERS.csv MESSAGE.wav RESULTS.csv [CALLS-AT-ONCE]
"""

import csv
import os
import sys
from pathlib import Path
from typing import TextIO

import trio
from rich.progress import Progress

import spech
from spech import Account, Phone, SpechError, open_phone


class Dialer:
    def __init__(self, phone: Phone, message: str, results: TextIO, at_once: int) -> None:
        self.phone = phone
        self.message = message
        self.file = results
        self.results = csv.writer(results)
        self.at_once = trio.CapacityLimiter(at_once)

    async def call_all(self, numbers: list[str]) -> None:
        with Progress() as progress:
            task = progress.add_task("Calling", total=len(numbers))

            async def one(number: str) -> None:
                async with self.at_once:
                    row = await self.call(number)
                self.results.writerow(row)
                self.file.flush()
                progress.advance(task)

            async with trio.open_nursery() as nursery:
                for number in numbers:
                    nursery.start_soon(one, number)

    async def call(self, number: str) -> tuple[str, str, str]:
        """Number, outcome, and seconds from the answer to the end."""
        seconds = 0.0
        try:
            async with self.phone.call(number) as call:
                try:
                    await call.answered(timeout=30)
                    await call.play(self.message).played()
                finally:
                    seconds = call.duration
        except SpechError as error:  # Refused, not answered, hung up, no number.
            return number, str(error), f"{seconds:.1f}"
        return number, "played", f"{seconds:.1f}"


async def main(numbers: list[str], message: str, results: TextIO, at_once: int) -> None:
    account = Account(os.environ["SPECH_ACCOUNT"], password=os.environ.get("SPECH_SIP_PASSWORD"))
    async with open_phone(account) as phone:
        await phone.registered(timeout=10)
        await Dialer(phone, message, results, at_once).call_all(numbers)


def numbers_in(file: TextIO) -> list[str]:
    return [row["number"] for row in csv.DictReader(file)]


numbers, message, output, at_once = [*sys.argv[1:], "10"][:4]
with Path(numbers).open(newline="") as file:
    wanted = numbers_in(file)
with Path(output).open("a+", newline="") as results:
    results.seek(0)
    done = set(numbers_in(results))
    if not results.tell():
        csv.writer(results).writerow(["number", "outcome", "seconds"])
    spech.run(main, [one for one in wanted if one not in done], message, results, int(at_once))
