"""axe finds nothing in any view, in either colour scheme, on a desktop and on a phone."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from spech.testing.asterisk import Asterisk
from spech.testing.plugin import unavailable

from .heard import in_call
from .page import Telephone

AXE = Path(__file__).parent.parent.parent / "tools/frontend/node_modules/axe-core/axe.min.js"
#: Width and height in pixels, and the colour scheme.
LOOKS = [(1366, 650, "light"), (360, 640, "dark")]
RUN = """async () => {
  for (const animation of document.getAnimations()) {
    if (animation.effect.getComputedTiming().endTime === Infinity) animation.cancel();
    else animation.finish();
  }
  const { violations } = await axe.run({ resultTypes: ["violations"] });
  return violations.flatMap(({ id, nodes }) =>
    nodes.map(({ target, failureSummary }) => `${id} ${target.join(" ")}: ${failureSummary}`));
}"""


class Inspector:
    """Looks at the views of a page with axe, and keeps what it finds."""

    def __init__(self, telephone: Telephone, axe: str) -> None:
        self._telephone = telephone
        self._axe = axe
        self.found: list[str] = []

    def look(self, view: str) -> None:
        page = self._telephone.page
        if not page.evaluate("'axe' in window"):
            page.evaluate(self._axe)
        for width, height, scheme in LOOKS:
            page.set_viewport_size({"width": width, "height": height})
            page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            self.found += [f"{view}, {scheme}: {each}" for each in page.evaluate(RUN)]
            self._telephone.picture(f"view-{view}-{scheme}")
        page.set_viewport_size({"width": 1100, "height": 820})


@pytest.fixture
def inspector(telephone: Telephone) -> Inspector:
    if not AXE.is_file():
        unavailable("browser", "no axe-core; `make test` installs it")
    return Inspector(telephone, AXE.read_text())


def test_axe_finds_nothing_in_any_view(
    inspector: Inspector, telephone: Telephone, pbx: Asterisk
) -> None:
    inspector.look("welcome")
    telephone.element("welcome-settings").click()
    telephone.element("settings-save").click()
    expect(telephone.element("settings-error")).to_be_visible()
    inspector.look("settings-error")
    telephone.sign_in(pbx)
    telephone.element("devices").locator("summary").click()
    inspector.look("dialer")
    telephone.page.keyboard.press("Escape")
    telephone.page.evaluate("document.activeElement.blur()")
    telephone.page.keyboard.press("?")
    expect(telephone.element("keys")).to_be_visible()
    inspector.look("keys")
    telephone.page.keyboard.press("?")
    pbx.originate("alice", "Milliwatt")
    expect(telephone.element("incoming")).to_be_visible()
    inspector.look("incoming")
    telephone.element("answer").click()
    in_call(telephone)
    telephone.element("record").click()
    inspector.look("call")
    telephone.element("keypad-toggle").click()
    inspector.look("keypad")
    telephone.element("transfer").click()
    inspector.look("transfer")
    telephone.element("transfer").click()
    telephone.element("new-call").click()
    telephone.dial("600")
    telephone.wait_for("spech.state.calls.filter(call => call.state === 'answered').length === 2")
    inspector.look("two-calls")
    telephone.element("merge").click()
    expect(telephone.element("members")).to_be_visible()
    inspector.look("conference")
    telephone.element("hangup").click()
    telephone.wait_for("spech.state.calls.every(call => call.state === 'ended')")
    inspector.look("ended")
    telephone.element("story-after").click()
    expect(telephone.element("story")).to_be_visible()
    inspector.look("story")
    telephone.element("story-close").click()
    telephone.element("dismiss").click()
    expect(telephone.element("number")).to_be_visible()
    inspector.look("recent")
    telephone.element("history-open").click()
    telephone.element("past-call").first.click()
    expect(telephone.element("past-details")).to_be_visible()
    inspector.look("history")
    telephone.element("contacts-open").click()
    telephone.element("contact-add").click()
    telephone.element("contact-name").fill("Bob")
    telephone.element("contact-number").fill("602")
    telephone.element("contact-favourite").check()
    inspector.look("contact")
    telephone.element("contact-save").click()
    telephone.element("book").locator("summary").click()
    inspector.look("contacts")
    telephone.page.keyboard.press("Escape")
    telephone.element("number").press_sequentially("bo")
    expect(telephone.element("suggestion")).to_be_visible()
    inspector.look("suggestions")
    telephone.element("settings-open").click()
    telephone.element("set-more").locator("summary").click()
    telephone.element("checkup").locator("summary").click()
    telephone.element("check-go").click()
    expect(telephone.element("step-options")).to_have_attribute("data-state", "passed")
    inspector.look("settings")
    telephone.element("chats-open").click()
    inspector.look("chats")
    telephone.element("chat-to").fill("bob")
    telephone.element("chat-start").click()
    telephone.element("chat-text").fill("Hello")
    telephone.element("chat-send").click()
    expect(telephone.element("bubble")).to_be_visible()
    inspector.look("chat")
    telephone.page.context.clear_cookies()
    telephone.page.goto(telephone.url)
    expect(telephone.page.locator("main.sign-in h1")).to_be_visible()
    inspector.look("sign-in")
    assert inspector.found == []
