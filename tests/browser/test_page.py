"""Use of the page: small windows, double clicks, missing sound, keyboard only."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from spech.testing.asterisk import Asterisk

from .heard import in_call
from .neighbour import Neighbour
from .page import Server, Telephone, browser_program

#: Phones, a phone in landscape, small laptops, and a page at 200 % and at 400 %.
SIZES = [(320, 568), (360, 640), (844, 390), (1280, 600), (1366, 650), (683, 325), (320, 256)]

#: Whether the element is visible, its center is not covered, and nothing scrolls horizontally.
IN_SIGHT = """(element) => {
  const { top, bottom, left, right } = element.getBoundingClientRect();
  const hit = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
  const inside = top >= 0 && bottom <= innerHeight && left >= 0 && right <= innerWidth;
  const narrow = document.documentElement.scrollWidth <= innerWidth;
  return inside && narrow && element.contains(hit);
}"""


#: Delays everything that the page sends by half a second.
SLOW_NETWORK = """() => {
  const send = WebSocket.prototype.send;
  WebSocket.prototype.send = function (data) {
    setTimeout(() => send.call(this, data), 500);
  };
}"""


#: Whether the whole text of a field can be seen.
FITS = "(field) => field.scrollWidth <= field.clientWidth"


def assert_in_sight(telephone: Telephone, name: str, state: str, *, least_height: int = 0) -> None:
    """The button is visible without scrolling, in windows of all sizes from that height on."""
    page = telephone.page
    before = page.viewport_size
    hidden = []
    for width, height in SIZES:
        if height < least_height:
            continue
        page.set_viewport_size({"width": width, "height": height})
        page.evaluate("scrollTo(0, 0)")
        page.wait_for_timeout(100)
        telephone.picture(f"small-{state}-{width}x{height}")
        if not telephone.element(name).first.evaluate(IN_SIGHT):
            hidden.append((width, height))
    assert before is not None
    page.set_viewport_size(before)
    assert hidden == [], state


def dial_further(telephone: Telephone, number: str) -> None:
    telephone.element("new-call").click()
    telephone.dial(number)
    telephone.wait_for("spech.state.calls.filter(call => call.state === 'answered').length === 2")


def test_the_main_button_is_visible_at_all_window_sizes(
    registered: Telephone, pbx: Asterisk
) -> None:
    assert_in_sight(registered, "call", "dialer")
    registered.element("settings-open").click()
    # As soon as there is something to save; a low window has its whole height for the fields.
    registered.element("set-user").fill("bob")
    assert_in_sight(registered, "settings-save", "settings", least_height=520)
    registered.element("settings-close").click()
    registered.dial("600")
    in_call(registered)
    assert_in_sight(registered, "hangup", "call")
    registered.element("keypad-toggle").click()
    assert_in_sight(registered, "hangup", "keypad")
    registered.element("keypad-toggle").click()
    pbx.originate("alice", "Milliwatt")
    expect(registered.element("incoming")).to_be_visible()
    assert_in_sight(registered, "answer", "second-incoming")
    registered.element("answer").click()
    registered.wait_for("spech.state.calls.filter(call => call.state === 'answered').length === 2")
    assert_in_sight(registered, "hangup", "two-calls")
    registered.element("merge").click()
    expect(registered.element("members")).to_be_visible()
    assert_in_sight(registered, "hangup", "conference")
    registered.page.set_viewport_size({"width": 360, "height": 640})
    tops = registered.page.evaluate(
        "[...document.querySelectorAll('.controls .control')]"
        ".filter((control) => control.checkVisibility()).map((control) => control.offsetTop)"
    )
    assert len(tops) == 4
    assert len(set(tops)) == 1, "the buttons of a conference are in one row"
    registered.element("hangup").click()
    registered.wait_for("spech.state.calls.every(call => call.state === 'ended')")
    assert_in_sight(registered, "again", "ended")
    registered.element("dismiss").click()
    pbx.originate("alice", "Echo")
    expect(registered.element("incoming")).to_be_visible()
    assert_in_sight(registered, "answer", "incoming")
    registered.element("decline").click()


def test_a_long_number_is_written_smaller_until_it_fits(registered: Telephone) -> None:
    number = registered.element("number")
    for width in (320, 390, 1100):
        registered.page.set_viewport_size({"width": width, "height": 820})
        for digits in ("600", "+14155550123", "+491555123456789"):
            number.fill(digits)
            assert number.evaluate(FITS), (width, digits)
    # Also when the window becomes smaller afterwards.
    registered.page.set_viewport_size({"width": 320, "height": 820})
    registered.page.wait_for_timeout(100)
    assert number.evaluate(FITS)


def test_a_double_click_dials_once(registered: Telephone) -> None:
    registered.element("number").fill("600")
    registered.element("call").dblclick()
    in_call(registered)
    assert [call["id"] for call in registered.calls] == ["c1"]
    registered.element("hangup").click()
    expect(registered.element("again")).to_be_visible()
    registered.element("again").dblclick()
    in_call(registered)
    assert [call["id"] for call in registered.calls if call["state"] != "ended"] == ["c2"]
    registered.page.wait_for_timeout(300)
    assert max(str(call["id"]) for call in registered.calls) == "c2"


def test_the_call_is_shown_before_the_server_answers(registered: Telephone) -> None:
    """With a delay of half a second, a second press and Enter find no button."""
    page = registered.page
    page.evaluate(SLOW_NETWORK)
    registered.element("number").fill("600")
    registered.element("number").press("Enter")
    expect(registered.element("status")).to_have_text("Calling…", timeout=400)
    page.keyboard.press("Enter")
    in_call(registered)
    assert [call["id"] for call in registered.calls] == ["c1"]


def test_hanging_up_before_the_server_answers_ends_the_call(registered: Telephone) -> None:
    registered.page.evaluate(SLOW_NETWORK)
    registered.dial("604")
    registered.element("hangup").click(timeout=400)
    registered.wait_for("spech.state.calls.length === 1 && spech.state.calls[0].state === 'ended'")


def test_a_silent_server_is_reported(registered: Telephone) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        registered.dial(f"sip:nobody@127.0.0.1:{silent.getsockname()[1]}")
        registered.status("Calling…")
        expect(registered.element("status")).to_have_text(
            "The server does not answer yet.", timeout=8000
        )
        registered.picture("silent-server")
        registered.element("hangup").click()


def test_a_pending_microphone_permission_is_shown(registered: Telephone) -> None:
    registered.page.evaluate(
        "() => { navigator.mediaDevices.getUserMedia = () => new Promise(() => {}); }"
    )
    registered.dial("600")
    registered.status("Your browser is asking for the microphone")
    registered.wait_for("spech.state.calls[0].state === 'answered'")
    registered.page.wait_for_timeout(2500)  # Quality is reported once a second.
    expect(registered.element("quality")).not_to_contain_text(re.compile("Good|Fair|Poor|Bad"))
    registered.picture("microphone-asked")
    registered.element("hangup").click()


def test_wideband_sound_is_shown(registered: Telephone) -> None:
    for codecs, wide in ((("opus",), True), (("PCMU",), False)):
        with Neighbour(codecs) as neighbour:
            registered.dial(neighbour.address)
            registered.wait_for("spech.state.calls.some(call => call.state === 'answered')")
            expect(registered.element("codec-in-use")).to_contain_text("Opus" if wide else "G.711")
            expect(registered.element("hd")).to_be_visible(visible=wide)
            registered.element("hangup").click()
            registered.element("dismiss").click()


def test_the_ringer_has_its_own_volume(registered: Telephone, pbx: Asterisk) -> None:
    """A muted speaker does not mute the ring."""
    page = registered.page
    page.evaluate(
        """() => {
          window.gains = [];
          const real = window.GainNode;
          window.GainNode = class extends real {
            constructor(context, options) {
              super(context, options);
              window.gains.push(options?.gain);
            }
          };
        }"""
    )
    registered.element("volume-speaker").fill("0")
    registered.element("volume-ringer").fill("60")
    pbx.originate("alice", "Echo")
    expect(registered.element("incoming")).to_be_visible()
    registered.wait_for("window.gains.includes(0.6)")
    registered.element("decline").click()
    registered.reload()
    expect(registered.element("volume-ringer")).to_have_value("60")


@pytest.fixture
def strict_browser(chromium: Browser) -> Iterator[Browser]:
    """A browser that mutes pages until there is a gesture, as by default."""
    browser = chromium.browser_type.launch(
        executable_path=browser_program(),
        args=["--no-sandbox", "--autoplay-policy=document-user-activation-required"],
    )
    yield browser
    browser.close()


def test_the_focus_never_moves_to_the_body(registered: Telephone, pbx: Asterisk) -> None:
    page = registered.page

    def focused() -> str:
        page.wait_for_timeout(150)
        tag: str = page.evaluate("document.activeElement.tagName")
        return tag

    registered.element("number").fill("600")
    page.keyboard.press("Enter")
    in_call(registered)
    assert focused() != "BODY"
    pbx.originate("alice", "Milliwatt")
    expect(registered.element("incoming")).to_be_visible()
    registered.element("answer").focus()
    page.keyboard.press("Enter")
    registered.wait_for("spech.state.calls.filter(call => call.state === 'answered').length === 2")
    assert focused() != "BODY"
    registered.element("merge").focus()
    page.keyboard.press("Enter")
    expect(registered.element("members")).to_be_visible()
    assert focused() != "BODY"
    expect(page.locator("#announcer")).to_contain_text("conference")
    registered.element("hangup").focus()
    page.keyboard.press("Enter")
    registered.wait_for("spech.state.calls.every(call => call.state === 'ended')")
    assert focused() != "BODY"


def test_keyboard_shortcuts_answer_decline_and_hang_up(
    registered: Telephone, pbx: Asterisk
) -> None:
    page = registered.page
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("?")
    expect(registered.element("keys")).to_be_visible()
    registered.picture("keys")
    page.keyboard.press("?")
    expect(registered.element("keys")).to_be_hidden()
    pbx.originate("alice", "Milliwatt")
    expect(registered.element("incoming")).to_be_visible()
    page.keyboard.press("a")
    in_call(registered)
    page.keyboard.press("e")
    registered.wait_for("spech.state.calls.every(call => call.state === 'ended')")
    registered.element("dismiss").click()
    page.evaluate("document.activeElement.blur()")
    pbx.originate("alice", "Milliwatt")
    expect(registered.element("incoming")).to_be_visible()
    icon = page.locator("link[rel=icon]")
    expect(icon).to_have_attribute("href", "favicon-marked.svg")
    page.keyboard.press("d")
    expect(icon).to_have_attribute("href", "favicon.svg")
    expect(registered.element("incoming")).to_have_count(0)


def test_keypads_and_calls_leave_no_nodes_or_listeners(registered: Telephone) -> None:
    page = registered.page
    devtools = page.context.new_cdp_session(page)

    def counts() -> tuple[int, int]:
        # The list of recent calls grows up to its length.
        registered.element("recent").evaluate("list => list.replaceChildren()")
        for _ in range(3):
            devtools.send("HeapProfiler.collectGarbage")
        found = devtools.send("Memory.getDOMCounters")
        return found["nodes"], found["jsEventListeners"]

    def use(times: int) -> None:
        registered.dial("600")
        registered.wait_for("spech.state.calls.some(call => call.state === 'answered')")
        for _ in range(2 * times):
            registered.element("keypad-toggle").click()
        registered.element("hangup").click()
        registered.wait_for("spech.state.calls.every(call => call.state === 'ended')")
        registered.element("dismiss").click()
        expect(registered.element("number")).to_be_visible()

    use(1)
    nodes, listeners = counts()
    for _ in range(4):
        use(5)
    more_nodes, more_listeners = counts()
    # A keypad has 61 nodes and 75 listeners.
    assert more_nodes - nodes < 60
    assert more_listeners - listeners < 20


def test_a_server_restart_during_a_call_is_reported(
    registered: Telephone, server: Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    registered.dial("600")
    in_call(registered)
    server.restart()
    expect(registered.element("banner")).to_contain_text("Your call ended", timeout=15_000)
    registered.picture("restarted")
    registered.element("understood").click()
    expect(registered.element("understood")).to_be_hidden()


def test_a_page_that_cannot_ring_shows_it(
    strict_browser: Browser, registered: Telephone, server: Server
) -> None:
    context: BrowserContext = strict_browser.new_context(locale="en")
    server.sign_in(context)
    page: Page = context.new_page()
    page.goto(registered.url)
    # Evaluation by Playwright counts as a gesture, so the page must have tried earlier.
    page.wait_for_timeout(3000)
    chip = page.get_by_test_id("enable-ringing")
    expect(chip).to_be_visible()
    for width in (320, 360, 390, 480, 700):
        page.set_viewport_size({"width": width, "height": 640})
        for name in ("enable-ringing", "history-open", "settings-open"):
            assert page.get_by_test_id(name).evaluate(IN_SIGHT), (name, width)
    chip.click()
    expect(chip).to_be_hidden()
    context.close()
