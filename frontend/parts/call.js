/** The selected call: who, what is happening, and what one can do about it. */

import { h, Part, setAddress, setText, show, takesText } from "../dom.js";
import { clock, inWords, number, t, translated } from "../i18n.js";
import { icon } from "../icons.js";
import { live } from "../phone.js";

const FLOOR_DBFS = -55;
const DOUBLE_CLICK_MS = 600;

export class CallView extends Part {
  #shown = null;
  #shownAt = 0;
  #keypadOpen = false;
  #keypad;

  build() {
    this.className = "call";
    this.avatar = h(
      "div",
      { class: "avatar", "aria-hidden": "true" },
      h("span", { class: "halo" }),
      h("span", { class: "face" }, icon("call")),
    );
    this.name = h("h1", { class: "who", testid: "remote", tabindex: -1 });
    this.address = h("p", { class: "address" });
    this.status = h("p", { class: "status", testid: "status", "aria-live": "polite" });
    this.timer = h("p", { class: "timer", testid: "timer", role: "timer", "aria-live": "off" });
    this.notices = this.#buildNotices();
    this.typed = h("p", { class: "typed", testid: "digits", "aria-label": t("digits.sent") });
    this.keypadPlace = h("div", { class: "keypad-place" });
    this.mute = this.#control("mute", "microphone", t("mute"), () => this.#toggleMute());
    this.keys = this.#control("keypad-toggle", "keypad", t("keypad"), () =>
      this.#openKeypad(!this.#keypadOpen),
    );
    this.more = this.#control("new-call", "plus", t("new_call"), () => this.phone.show("dialer"));
    this.controls = h("div", { class: "controls" }, this.mute, this.keys, this.more);
    this.hangup = h(
      "button",
      {
        type: "button",
        class: "round stop hangup",
        testid: "hangup",
        "aria-label": t("hang_up"),
        onclick: (event) => this.#hangUp(event),
      },
      icon("hangup"),
    );
    this.again = h(
      "button",
      { type: "button", class: "pill", testid: "again", onclick: () => this.#callAgain() },
      t("call_again"),
    );
    this.done = h(
      "button",
      {
        type: "button",
        class: "pill plain",
        testid: "dismiss",
        onclick: () => this.phone.dismiss(this.#shown),
      },
      t("done"),
    );
    this.after = h("div", { class: "after" }, this.again, this.done);
    this.quality = h("p", { class: "quality", testid: "quality" });
    this.append(
      this.avatar,
      this.name,
      this.address,
      this.status,
      this.timer,
      this.notices,
      this.typed,
      this.keypadPlace,
      this.controls,
      this.hangup,
      this.after,
      this.quality,
    );
    this.phone.addEventListener("tick", () => this.#tick());
    document.addEventListener("keydown", (event) => this.#typedAnywhere(event));
  }

  /** The focus goes to the name: a held Enter key must not press the next best button. */
  arrive() {
    this.name.focus({ preventScroll: true });
  }

  #buildNotices() {
    const notice = (testid, kind, label, action) => {
      const text = h("span", null);
      const button = h("button", { type: "button", class: "pill primary", testid, onclick: action }, label);
      const box = h("div", { class: `notice ${kind}`, role: "status", hidden: true }, text, button);
      return { box, text, button };
    };
    this.hear = notice("hear", "ask", t("hear"), () => this.phone.sound.resume());
    this.elsewhere = notice("take", "ask", t("take"), () => this.phone.take(this.#shown));
    this.silent = notice("microphone-again", "warn", t("microphone.again"), () =>
      this.phone.sound.askMicrophone(),
    );
    this.silent.box.dataset.testid = "microphone-notice";
    this.trouble = h("p", { class: "problem", role: "alert", testid: "call-error", hidden: true });
    return h("div", { class: "notices" }, this.hear.box, this.elsewhere.box, this.silent.box, this.trouble);
  }

  #control(testid, symbol, label, action) {
    return h(
      "button",
      { type: "button", class: "control", testid, "aria-pressed": "false", onclick: action },
      h("span", { class: "disc" }, icon(symbol)),
      h("span", { class: "label" }, label),
    );
  }

  update() {
    const call = this.phone.selected;
    if (!call) return;
    if (call.id !== this.#shown) {
      this.#shown = call.id;
      this.#shownAt = performance.now();
      this.#openKeypad(false);
    }
    const ended = !live(call);
    this.dataset.state = call.state;
    this.status.dataset.state = call.state;
    setAddress(this.name, call.display_name || call.remote);
    setAddress(this.address, call.display_name ? call.remote : "");
    setText(this.status, this.#statusText(call));
    show(this.controls, !ended);
    show(this.hangup, !ended);
    this.hangup.disabled = this.phone.leaves(call);
    show(this.after, ended);
    const waiting = this.phone.lines.findLast(live);
    setText(this.done, waiting ? t("back_to", { who: waiting.display_name || waiting.remote }) : t("done"));
    show(this.again, ended && this.phone.account !== null);
    show(this.more, call.state === "answered");
    this.keys.disabled = call.state !== "answered" && call.state !== "early";
    if (ended || this.keys.disabled) this.#openKeypad(false);
    this.#showMute(call.muted);
    this.#showNotices(call);
    setText(this.typed, this.#keypadOpen ? this.phone.digits(call) : "");
    this.#tick();
  }

  #statusText(call) {
    if (call.state === "ended") return translated(call.ended.text);
    if (this.phone.leaves(call)) return t("state.leaving");
    if (call.state === "answered" && call.muted) return t("state.muted");
    return t(`state.${call.state}`);
  }

  #showMute(muted) {
    if (this.mute.getAttribute("aria-pressed") === String(muted)) return;
    this.mute.setAttribute("aria-pressed", String(muted));
    this.mute.querySelector(".disc").replaceChildren(icon(muted ? "muted" : "microphone"));
    setText(this.mute.querySelector(".label"), t(muted ? "unmute" : "mute"));
  }

  #showNotices(call) {
    const { sound, control, error } = this.phone;
    const here = live(call) && this.phone.owns(call) && sound.call === call.id;
    show(this.hear.box, here && sound.blocked);
    setText(this.hear.text, t("hear.why"));
    show(
      this.elsewhere.box,
      live(call) && call.state !== "trying" && !this.phone.owns(call) && control.connected,
    );
    setText(this.elsewhere.text, t("elsewhere"));
    const missing = ["denied", "missing", "failed", "insecure"].includes(sound.microphone);
    // One thing at a time: to hear comes before to be heard.
    show(
      this.silent.box,
      live(call) && missing && !sound.blocked && (here || sound.microphone === "insecure"),
    );
    if (missing) setText(this.silent.text, t(`microphone.${sound.microphone}`));
    show(this.silent.button, sound.microphone !== "insecure");
    show(this.trouble, error !== null);
    if (error) setText(this.trouble, inWords(error).join(" "));
  }

  #tick() {
    const call = this.phone.selected;
    if (!call || !this.isConnected) return;
    const seconds = this.phone.seconds(call);
    setText(this.timer, seconds === null ? "" : clock(seconds));
    const quality = live(call) && call.state !== "trying" ? this.phone.quality(call) : null;
    setText(
      this.quality,
      quality
        ? [
            call.codec,
            t("quality.lost", { count: number(quality.lost) }),
            t("quality.jitter", { ms: number(quality.jitter, 1) }),
            t("quality.dropped", { count: number(quality.dropped) }),
          ]
            .filter(Boolean)
            .join(" · ")
        : "",
    );
  }

  /** Let the halo follow the other side's voice. `speaker` in dBFS. */
  breathe(speaker) {
    const loud = Math.max(0, Math.min(1, 1 - speaker / FLOOR_DBFS));
    this.avatar.style.setProperty("--voice", loud.toFixed(3));
  }

  #hangUp(event) {
    // The call button was where this one is now: the second half of a double click is no hang-up.
    if (event.detail > 1 && performance.now() - this.#shownAt < DOUBLE_CLICK_MS) return;
    this.phone.hangUp(this.#shown);
  }

  #toggleMute() {
    const call = this.phone.selected;
    if (call && live(call)) this.phone.mute(call.id, !call.muted);
  }

  #openKeypad(open) {
    if (open === this.#keypadOpen) return;
    this.#keypadOpen = open;
    this.keys.setAttribute("aria-pressed", String(open));
    this.classList.toggle("with-keypad", open);
    this.#keypad = null;
    this.keypadPlace.replaceChildren();
    setText(this.typed, open ? this.phone.digits(this.phone.selected) : "");
    if (!open) return;
    this.#keypad = document.createElement("spech-keypad");
    this.keypadPlace.append(this.#keypad);
    this.#keypad.phone = this.phone;
    this.#keypad.addEventListener("key", ({ detail }) => {
      if (detail !== "+") this.phone.sendDigit(this.#shown, detail);
    });
  }

  #callAgain() {
    const { remote } = this.phone.selected;
    this.phone.dismiss(this.#shown);
    this.phone.dial(remote);
  }

  #typedAnywhere(event) {
    if (!this.isConnected || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (takesText(event.target)) return;
    const call = this.phone.selected;
    if (!call) return;
    if (!live(call)) {
      this.#typedAfterwards(event);
      return;
    }
    if (/^[0-9*#]$/.test(event.key) && call.state === "answered") {
      this.#openKeypad(true);
      this.#keypad.flash(event.key);
      this.phone.sendDigit(call.id, event.key);
    } else if (event.key.toLowerCase() === "m") this.#toggleMute();
    else return;
    event.preventDefault();
  }

  /** After a call, typing begins the next one; Escape, or Enter beside the buttons, says Done. */
  #typedAfterwards(event) {
    const digit = /^[0-9*#+]$/.test(event.key);
    const done = event.key === "Escape" || (event.key === "Enter" && !event.target.closest?.("button"));
    if (!digit && !done) return;
    this.phone.dismiss(this.#shown);
    if (digit) {
      this.phone.number = event.key;
      this.phone.show("dialer");
    }
    event.preventDefault();
  }
}

customElements.define("spech-call", CallView);
