"""The page's devices: choosing them, trying them out, and what they are told about calls."""

from __future__ import annotations

import json
import re
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, WebSocketRoute, expect

from spech.testing.asterisk import Asterisk
from spech.testing.dialplan import PASSWORD

from .heard import hear_own_tone, in_call
from .page import Server, Telephone, browser_program

#: The notifications of the page.
SHOWN = "navigator.serviceWorker.ready.then((worker) => worker.getNotifications())"

#: Notes the constraints of each microphone, each device that sound is played on, and each tone.
WATCH_DEVICES = """() => {
  window.tones = [];
  const oscillator = window.OscillatorNode;
  window.OscillatorNode = class extends oscillator {
    constructor(context, options) {
      super(context, options);
      window.tones.push(options.frequency);
    }
  };
  window.asked = [];
  window.routed = [];
  const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = (constraints) => {
    window.asked.push(constraints.audio);
    return open(constraints);
  };
  const route = AudioContext.prototype.setSinkId;
  AudioContext.prototype.setSinkId = function (id) {
    window.routed.push(id);
    return route.call(this, id);
  };
}"""

#: A microphone that is switched off: a stream of zeros.
SILENT_MICROPHONE = """() => {
  navigator.mediaDevices.getUserMedia = async () =>
    new AudioContext().createMediaStreamDestination().stream;
}"""


def second_device(telephone: Telephone, role: str) -> str:
    """Choose the device after the system's, and return its id."""
    choice = telephone.element(f"device-{role}")
    expect(choice.locator("option").nth(1)).to_be_attached()
    choice.select_option(index=1)
    return choice.input_value()


def test_the_sound_can_be_tried_and_devices_change_in_a_call(registered: Telephone) -> None:
    page = registered.page
    page.evaluate(WATCH_DEVICES)
    registered.element("sound-check").click()
    outcome = registered.element("sound-check-outcome")
    expect(outcome).to_have_text("Speak for four seconds…")
    registered.wait_for(
        "document.querySelector('[data-testid=meter-microphone]').ariaValueNow > -30"
    )
    registered.picture("sound-check")
    expect(outcome).to_have_text("This is how you sound.")
    registered.wait_for("document.querySelector('[data-testid=meter-speaker]').ariaValueNow > -30")
    expect(outcome).to_contain_text("Done.")
    registered.element("devices").locator("summary").click()
    registered.picture("devices")
    microphone = second_device(registered, "microphone")
    speaker = second_device(registered, "speaker")
    registered.press("1")
    registered.wait_for("String(window.tones) === '697,1209'")
    ringer = second_device(registered, "ringer")
    registered.wait_for(f"window.tones.length > 2 && window.routed.at(-1) === '{ringer}'")
    registered.element("switch-keys").uncheck()
    registered.press("2")
    registered.dial("600")
    in_call(registered)
    assert 1336 not in registered.page.evaluate("window.tones")
    registered.wait_for(f"window.asked.at(-1).deviceId.ideal === '{microphone}'")
    registered.wait_for(f"window.routed.includes('{speaker}')")
    registered.element("device-microphone").select_option("")
    registered.element("switch-noiseSuppression").check()
    registered.wait_for("window.asked.at(-1).noiseSuppression && !window.asked.at(-1).deviceId")
    registered.element("switch-noiseSuppression").uncheck()
    registered.wait_for("window.asked.at(-1).noiseSuppression === false")
    hear_own_tone(registered)
    registered.element("hangup").click()
    registered.reload()
    expect(registered.element("device-speaker")).to_have_value(speaker)


def test_a_silent_microphone_is_reported(registered: Telephone) -> None:
    registered.page.evaluate(SILENT_MICROPHONE)
    registered.dial("600")
    registered.status("In call")
    notice = registered.element("microphone-silent")
    expect(notice).to_be_visible()
    registered.picture("microphone-silent")
    registered.element("mute").click()
    expect(notice).to_be_hidden()


def test_a_call_in_the_background_is_a_notification_that_answers(
    registered: Telephone, context: BrowserContext, pbx: Asterisk
) -> None:
    want_notifications(registered, context)
    hide(registered)
    pbx.originate("alice", "Echo")
    expect(registered.element("incoming")).to_be_visible()
    assert notified(registered)["actions"] == ["answer", "decline"]
    click_notification(context, "answer")
    in_call(registered)
    registered.wait_for(f"{SHOWN}.then((all) => all.length === 0)")


def test_a_message_in_the_background_is_a_notification_that_opens_the_chat(
    registered: Telephone, context: BrowserContext, pbx: Asterisk
) -> None:
    """Alice and Bob are both of this page, so that Alice's message comes back to it."""
    want_notifications(registered, context)
    registered.element("settings-open").click()
    registered.element("account-add").click()
    registered.fill_settings(pbx.host, pbx.port, "bob", PASSWORD)
    registered.save_settings()
    registered.await_registrations(2)
    registered.element("chats-open").click()
    registered.element("chat-to").fill("bob")
    registered.element("chat-start").click()
    write(registered, "seen at once")
    expect(registered.element("unread")).to_have_text("1")
    hide(registered)
    # What came while the page was in sight is not told again.
    assert registered.page.evaluate(f"{SHOWN}.then((all) => all.length)") == 0
    for text in ("Lunch?", "At noon"):
        write(registered, text)
        registered.wait_for(f"{SHOWN}.then(([one, two]) => one?.body === '{text}' && !two)")
    assert notified(registered) == {"title": "alice", "body": "At noon", "actions": []}
    click_notification(context, "")
    expect(registered.element("chat-heading")).to_have_text("alice")
    expect(registered.element("bubble").last).to_contain_text("At noon")
    # Who looks at the page needs no notification.
    write(registered, "Never mind")
    registered.page.evaluate(
        "() => { window.away = false; document.dispatchEvent(new Event('visibilitychange')); }"
    )
    registered.wait_for(f"{SHOWN}.then((all) => all.length === 0)")


def want_notifications(telephone: Telephone, context: BrowserContext) -> None:
    context.grant_permissions(["microphone", "notifications"])
    telephone.element("devices").locator("summary").click()
    telephone.element("switch-notify").check()


def hide(telephone: Telephone) -> None:
    """Have the page believe that it is in the background."""
    telephone.page.evaluate(
        """() => {
          Object.defineProperty(document, "hidden", { get: () => window.away ?? true });
          document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )


def write(telephone: Telephone, text: str) -> None:
    telephone.element("chat-text").fill(text)
    telephone.element("chat-text").press("Enter")
    expect(telephone.element("chat-text")).to_have_value("")


def notified(telephone: Telephone) -> dict[str, object]:
    """The one notification that is shown."""
    telephone.wait_for(f"{SHOWN}.then((all) => all.length === 1)")
    shown: dict[str, object] = telephone.page.evaluate(
        SHOWN
        + """.then(([{ title, body, actions }]) =>
          ({ title, body, actions: actions.map(({ action }) => action) }))"""
    )
    return shown


def click_notification(context: BrowserContext, action: str) -> None:
    context.service_workers[0].evaluate(
        """async (action) => {
          const [notification] = await self.registration.getNotifications();
          self.dispatchEvent(new NotificationEvent("notificationclick", { notification, action }));
        }""",
        action,
    )


#: Counts the locks that keep the screen on, and keeps the handlers of the system's buttons.
WATCH_SYSTEM = """() => {
  window.locks = 0;
  navigator.wakeLock.request = async () => {
    window.locks += 1;
    return Object.assign(new EventTarget(), {
      released: false,
      async release() { window.locks -= 1; },
    });
  };
  window.handlers = {};
  navigator.mediaSession.setActionHandler = (name, handler) => { window.handlers[name] = handler; };
}"""


def test_the_system_keeps_the_screen_on_and_its_buttons_reach_the_call(
    registered: Telephone,
) -> None:
    page = registered.page
    page.evaluate(WATCH_SYSTEM)
    registered.dial("600")
    in_call(registered)
    assert page.evaluate("window.locks") == 1
    assert page.evaluate("navigator.mediaSession.metadata.title") == "600"
    page.evaluate("window.handlers.togglemicrophone()")
    registered.wait_for("spech.state.calls[0].muted")
    page.evaluate("window.handlers.hangup()")
    registered.wait_for("spech.state.calls[0].state === 'ended'")
    registered.wait_for("window.locks === 0 && navigator.mediaSession.metadata === null")
    assert page.evaluate("window.handlers.hangup") is None


def test_a_page_of_an_older_version_reloads_after_the_call(registered: Telephone) -> None:
    page = registered.page
    version = "1"

    def pass_on(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()
        server.on_message(
            lambda text: socket.send(re.sub(r'(?<="version":")[^"]*', version, str(text)))
        )

    page.route_web_socket("**/control", pass_on)
    registered.reload()
    registered.dial("600")
    in_call(registered)
    page.evaluate("window.old = true")
    version = "2"
    registered.element("mute").click()
    registered.wait_for("spech.state.version === '2'")
    assert page.evaluate("window.old")
    with page.expect_event("load"):
        registered.element("hangup").click()
    registered.wait_for("window.old === undefined && window.spech?.state?.version === '2'")


def test_the_page_can_be_installed(chromium: Browser, server: Server, tmp_path: Path) -> None:
    """A browser installs nothing in a context of a test, which counts as a private window."""
    with chromium.browser_type.launch_persistent_context(
        tmp_path / "profile", executable_path=browser_program(), args=["--no-sandbox"]
    ) as context:
        server.sign_in(context)
        page = context.pages[0]
        page.goto(server.url)
        devtools = context.new_cdp_session(page)
        assert devtools.send("Page.getInstallabilityErrors") == {"installabilityErrors": []}
        manifest = devtools.send("Page.getAppManifest")
        assert manifest["errors"] == []
        for icon in json.loads(manifest["data"])["icons"]:
            assert page.request.get(server.url.rstrip("/") + icon["src"]).ok


#: A headset that exists in this script only. Its input report has the hook switch and the mute
#: button behind a byte of padding; its output report has the lamps for mute, off-hook and ring.
MOCKED_HEADSET = """
const flags = (...usages) => ({
  usages, usageMinimum: 0, isRange: false, isArray: false, isConstant: false,
  reportSize: 1, reportCount: usages.length,
});
const padding = { ...flags(), isConstant: true, reportSize: 8, reportCount: 1 };
window.headset = Object.assign(new EventTarget(), {
  productName: "Mocked", opened: false, lamps: [],
  collections: [{
    usagePage: 0x0b,
    inputReports: [{ reportId: 2, items: [padding, flags(0x0b0020, 0x0b002f)] }],
    outputReports: [{ reportId: 3, items: [flags(0x080009, 0x080017, 0x080018)] }],
  }],
  async open() { this.opened = true; },
  async sendReport(id, data) { this.lamps.push([id, ...data]); },
  press(flags) {
    const data = new DataView(Uint8Array.of(0, flags).buffer);
    this.dispatchEvent(Object.assign(new Event("inputreport"), { reportId: 2, data }));
  },
});
Object.defineProperty(navigator, "hid", { value: Object.assign(new EventTarget(), {
  getDevices: async () => (window.headset.opened ? [window.headset] : []),
  requestDevice: async () => [window.headset],
}) });
"""


def test_the_buttons_of_a_mocked_headset_answer_mute_and_hang_up(
    registered: Telephone, pbx: Asterisk
) -> None:
    page = registered.page
    page.add_init_script(MOCKED_HEADSET)
    registered.reload()
    registered.element("devices").locator("summary").click()
    registered.element("headset").click()
    expect(registered.element("headset")).to_have_text("Headset: Mocked")
    pbx.originate("alice", "Echo")
    registered.wait_for("String(headset.lamps.at(-1)) === '3,4'")
    page.evaluate("headset.press(0b01)")
    in_call(registered)
    registered.wait_for("String(headset.lamps.at(-1)) === '3,2'")
    page.evaluate("headset.press(0b11); headset.press(0b01)")
    registered.wait_for("spech.state.calls[0].muted && String(headset.lamps.at(-1)) === '3,3'")
    page.evaluate("headset.press(0b00)")
    registered.wait_for("spech.state.calls[0].state === 'ended'")
    registered.wait_for("String(headset.lamps.at(-1)) === '3,0'")
