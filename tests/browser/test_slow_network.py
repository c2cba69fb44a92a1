"""A call whose network is too slow for PCM: it goes on in Opus, and returns."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import BrowserContext, expect

from spech.testing.asterisk import Asterisk

from ..slow_network import CHOOSE_FORMAT, Bottleneck
from .conftest import SCREENSHOTS
from .heard import hear_own_tone, in_call
from .page import Server, Telephone

#: 96 kbit/s: less than PCM at 8 kHz, and enough for Opus and the control connection.
SLOW = 12_000
#: Below this level, in dBFS, nothing is heard of the tone.
QUIET = -40.0
#: Of silence, in seconds; less than the frame of 20 ms that would be missing.
GAP = 0.02


@pytest.fixture
def network(server: Server) -> Iterator[Bottleneck]:
    with Bottleneck(server.url) as network:
        yield network


@pytest.fixture
def distant(
    context: BrowserContext, server: Server, network: Bottleneck, pbx: Asterisk
) -> Iterator[Telephone]:
    """The page with Alice's account, on the other side of the network."""
    server.sign_in(context)
    telephone = Telephone(context.new_page(), network.url, SCREENSHOTS)
    telephone.open()
    telephone.sign_in(pbx)
    yield telephone
    assert telephone.errors == []


def longest_gap(telephone: Telephone, seconds: float) -> float:
    """The longest time without the tone in what the page plays, in seconds."""
    heard, rate = telephone.hear(seconds)
    size = rate // 200
    blocks = heard[: len(heard) // size * size].reshape(-1, size).astype(float)
    levels = 20 * np.log10(np.sqrt(np.mean(blocks**2, axis=1)) / 32768 + 1e-9)
    longest = gap = 0
    for level in levels:
        gap = gap + 1 if level < QUIET else 0
        longest = max(longest, gap)
    return longest * size / rate


def test_a_call_on_a_slow_network_goes_on_in_opus(distant: Telephone, network: Bottleneck) -> None:
    distant.dial("600")
    in_call(distant)
    distant.element("quality").click()
    codec, loss = distant.element("page-codec"), distant.element("page-loss")
    expect(codec).to_have_text("PCM")
    hear_own_tone(distant)

    network.bytes_per_second = SLOW
    expect(codec).to_have_text("Opus", timeout=30_000)
    # Nothing is lost any more, and the tone is as clean as before, both ways.
    expect(loss).to_have_text("0 %", timeout=20_000)
    hear_own_tone(distant)
    codec.scroll_into_view_if_needed()
    distant.picture("connection-opus")

    network.bytes_per_second = None
    # It takes half a minute without trouble; trouble on a busy machine starts that again.
    expect(codec).to_have_text("PCM", timeout=150_000)
    hear_own_tone(distant)


def test_a_change_of_format_is_not_heard(registered: Telephone) -> None:
    """Changes to and fro; a busy machine may lose a frame in some of them."""
    registered.dial("600")
    in_call(registered)
    registered.element("quality").click()
    registered.page.evaluate(CHOOSE_FORMAT)
    codec = registered.element("page-codec")
    gaps: dict[str, list[float]] = {"Opus": [1.0], "PCM": [1.0]}
    for wanted in ["Opus", "PCM"] * 8:
        registered.page.evaluate(f"() => {{ window.wanted = '{wanted.lower()}'; }}")
        gap = longest_gap(registered, 2.5)
        expect(codec).to_have_text(wanted)
        gaps[wanted].append(gap)
        if max(map(min, gaps.values())) < GAP:
            break
    assert max(map(min, gaps.values())) < GAP, gaps
    hear_own_tone(registered)


def test_a_network_that_stays_slow_is_tried_less_and_less(registered: Telephone) -> None:
    """A network that never carries PCM, second by second for two hours."""
    changes = registered.page.evaluate(
        """
        async () => {
          const { Network } = await import("/sound/network.js");
          const network = new Network();
          const changes = [];
          for (let second = 0; second < 7200; second += 1) {
            const before = network.format;
            const loss = before === "pcm" ? 30 : 0;
            if (network.note(loss, 0) !== before) changes.push([second, network.format]);
          }
          return changes;
        }
        """
    )
    in_opus = [second for second, format in changes if format == "opus"]
    in_pcm = [second for second, format in changes if format == "pcm"]
    assert in_opus[0] == 2
    pauses = [after - before for before, after in zip(in_opus, in_pcm, strict=False)]
    assert pauses[:6] == [30, 60, 120, 240, 480, 480]
    # No trial takes longer than three seconds.
    assert {opus - pcm for pcm, opus in zip(in_pcm, in_opus[1:], strict=False)} == {3}


def test_a_browser_without_webcodecs_stays_with_pcm(
    distant: Telephone, network: Bottleneck
) -> None:
    distant.page.add_init_script("delete window.AudioEncoder")
    distant.reload()
    distant.dial("600")
    in_call(distant)
    distant.element("quality").click()
    network.bytes_per_second = SLOW
    loss = "parseFloat(document.querySelector('[data-testid=page-loss]').textContent) > 2"
    distant.wait_for(loss)
    distant.page.wait_for_timeout(8000)
    expect(distant.element("page-codec")).to_have_text("PCM")
    network.bytes_per_second = None
    expect(distant.element("page-loss")).to_have_text("0 %", timeout=20_000)
    hear_own_tone(distant)
