"""Where the buttons of a call stand: none covers another one, and all are in the window."""

from __future__ import annotations

from playwright.sync_api import expect

from spech.testing.asterisk import Asterisk

from .heard import in_call
from .page import Telephone

#: A desktop, a small laptop, a phone upright and on its side, and the smallest phone.
SIZES = [(1280, 800), (1366, 650), (390, 844), (844, 390), (320, 568)]

#: Pairs of visible controls that cover each other, and controls that reach out of the window. The
#: area of the main button counts as a whole: its background hides what lies below it. The mark of
#: the quality is not needed in sight.
FAULTS = """() => {
  const area = document.querySelector(".stage .main-action");
  const controls = [...document.querySelectorAll(".front :is(button, input, select, a)")].filter(
    (each) => each.checkVisibility({ visibilityProperty: true })
      && !each.classList.contains("mark"));
  const within = controls.filter((each) => area?.contains(each));
  const others = controls.filter((each) => !within.includes(each));
  const name = (each) => each.dataset.testid ?? each.className;
  const box = (each) => each.getBoundingClientRect();
  const covers = (one, other) => {
    const [a, b] = [box(one), box(other)];
    return Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
      && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
  };
  const boxes = area?.checkVisibility() ? [...others, area] : others;
  const faults = [];
  if (document.documentElement.scrollWidth > innerWidth) faults.push("the page scrolls sideways");
  for (const [index, one] of boxes.entries())
    for (const other of boxes.slice(index + 1))
      if (covers(one, other)) faults.push(`${name(one)} and ${name(other)}`);
  for (const each of controls) {
    const { top, bottom, left, right } = box(each);
    if (top < 0 || left < 0 || bottom > innerHeight + 1 || right > innerWidth + 1)
      faults.push(`${name(each)} is out of sight`);
  }
  return faults;
}"""


def find_faults(telephone: Telephone, state: str) -> list[str]:
    """What covers what in windows of all sizes."""
    page = telephone.page
    faults: list[str] = []
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        page.evaluate("scrollTo(0, 0)")
        page.wait_for_timeout(50)
        telephone.picture(f"layout-{state}-{width}x{height}")
        faults += [f"{state} {width}x{height}: {fault}" for fault in page.evaluate(FAULTS)]
    return faults


def press(telephone: Telephone, name: str) -> None:
    """Press a button by script: where it stands is what is measured."""
    telephone.element(name).evaluate("button => button.click()")


def test_no_control_of_a_call_covers_another(registered: Telephone, pbx: Asterisk) -> None:
    faults = find_faults(registered, "dialer")
    registered.dial("600")
    in_call(registered)
    press(registered, "record")
    expect(registered.element("recording")).to_be_visible()
    faults += find_faults(registered, "call")
    for panel in ("keypad-toggle", "transfer"):
        press(registered, panel)
        faults += find_faults(registered, panel)
        press(registered, panel)
    press(registered, "new-call")
    faults += find_faults(registered, "new-call")
    press(registered, f"line-{registered.calls[0]['id']}")
    pbx.originate("alice", "Milliwatt")
    expect(registered.element("incoming")).to_be_visible()
    faults += find_faults(registered, "incoming")
    press(registered, "keypad-toggle")
    faults += find_faults(registered, "incoming-keypad")
    press(registered, "keypad-toggle")
    press(registered, "answer")
    registered.wait_for("spech.state.calls.filter(call => call.state === 'answered').length === 2")
    faults += find_faults(registered, "two-calls")
    for panel in ("keypad-toggle", "transfer"):
        press(registered, panel)
        faults += find_faults(registered, f"two-calls-{panel}")
        press(registered, panel)
    press(registered, "merge")
    expect(registered.element("members")).to_be_visible()
    faults += find_faults(registered, "conference")
    press(registered, "hangup")
    registered.wait_for("spech.state.calls.every(call => call.state === 'ended')")
    expect(registered.element("lines")).to_be_hidden()
    faults += find_faults(registered, "ended")
    press(registered, "dismiss")
    expect(registered.element("number")).to_be_visible()
    assert faults == []
