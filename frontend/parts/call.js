// @ts-check
/** The selected call: the far end, the state, and the controls. */

import { h, Part, setAddress, setText, setVoice, show, takesText } from "../dom.js";
import { clock, t, translated } from "../i18n.js";
import { icon } from "../icons.js";
import { addressOf, live, nameOf } from "../calls.js";
import { Keypad } from "./keypad.js";
import { TransferPanel, transferText } from "./transfer.js";

/** @import { CallState } from "../messages.js" */
/** @import { IconName } from "../icons.js" */

const DOUBLE_CLICK_MS = 600;
/** A server that has the call says so at once (RFC 3261 17.2.1: within 200 ms). */
const SILENT_SERVER_MS = 5000;
/** What can be open between the call's name and its buttons, one at a time. */
/** @type {{keypad: "spech-keypad", transfer: "spech-transfer"}} */
const PANELS = { keypad: "spech-keypad", transfer: "spech-transfer" };

export class CallView extends Part {
  /** @type {HTMLDivElement} */
  avatar;
  /** @type {HTMLSpanElement} */
  halo;
  /** @type {HTMLDivElement} */
  place;
  /** @type {HTMLDivElement} */
  controls;
  /** @type {HTMLDivElement} */
  afterwards;
  /** @type {HTMLSpanElement} */
  face;
  /** @type {HTMLSpanElement} */
  recorded;
  /** @type {HTMLHeadingElement} */
  name;
  /** @type {HTMLParagraphElement} */
  address;
  /** @type {HTMLParagraphElement} */
  status;
  /** @type {HTMLParagraphElement} */
  timer;
  /** @type {HTMLParagraphElement} */
  recording;
  /** @type {HTMLParagraphElement} */
  typed;
  /** @type {HTMLElementTagNameMap["spech-notices"]} */
  notices;
  /** @type {HTMLElementTagNameMap["spech-members"]} */
  members;
  /** @type {HTMLButtonElement} */
  mute;
  /** @type {HTMLButtonElement} */
  keys;
  /** @type {HTMLButtonElement} */
  hold;
  /** @type {HTMLButtonElement} */
  pass;
  /** @type {HTMLButtonElement} */
  record;
  /** @type {HTMLButtonElement} */
  more;
  /** @type {HTMLButtonElement} */
  merge;
  /** @type {HTMLButtonElement} */
  hangup;
  /** @type {HTMLButtonElement} */
  again;
  /** @type {HTMLButtonElement} */
  story;
  /** @type {HTMLButtonElement} */
  done;
  /** @type {HTMLElementTagNameMap["spech-mark"]} */
  mark;

  /** Id of the call that is shown. */
  #shown = "";
  #shownAt = 0;
  /** @type {keyof typeof PANELS | null} */
  #open = null;
  /** @type {Keypad | TransferPanel | null} */
  #panel = null;

  build() {
    this.className = "call";
    this.face = h("span", { class: "face" }, icon("call"));
    this.halo = h("span", { class: "halo" });
    this.avatar = h("div", { class: "avatar", "aria-hidden": "true" }, this.halo, this.face);
    this.name = h("h1", { class: "who", testid: "remote", tabindex: -1 });
    this.address = h("p", { class: "address" });
    this.members = document.createElement("spech-members");
    this.status = h("p", { class: "status", testid: "status", "aria-live": "polite" });
    this.timer = h("p", { class: "timer", testid: "timer", role: "timer", "aria-live": "off" });
    this.recorded = h("span", { class: "recorded-time" });
    this.recording = h(
      "p",
      { class: "recorded", testid: "recording", hidden: true },
      h("span", { class: "record-dot", "aria-hidden": "true" }),
      h("span", { role: "status" }, t("recording")),
      this.recorded,
    );
    this.notices = document.createElement("spech-notices");
    this.typed = h("p", { class: "typed", role: "group", testid: "digits", "aria-label": t("digits.sent") });
    this.place = h("div", { class: "panel-place" });
    this.mute = this.#control("mute", "microphone", t("mute"), () => this.#toggleMute());
    this.keys = this.#control("keypad-toggle", "keypad", t("keypad"), () => this.#togglePanel("keypad"));
    this.hold = this.#control("hold", "hold", t("hold"), () => this.#toggleHold());
    this.pass = this.#control("transfer", "transfer", t("transfer"), () => this.#togglePanel("transfer"));
    this.record = this.#control("record", "record", t("record"), () => this.#toggleRecording());
    this.more = this.#control("new-call", "plus", t("new_call"), () => this.phone.show("dialer"));
    this.merge = this.#control("merge", "merge", t("merge"), () => this.#merge());
    this.controls = h(
      "div",
      { class: "controls" },
      this.mute,
      this.keys,
      this.hold,
      this.pass,
      this.record,
      this.merge,
      this.more,
    );
    this.hangup = h(
      "button",
      {
        type: "button",
        class: "round stop hangup",
        testid: "hangup",
        "aria-label": t("hang_up"),
        onclick: (/** @type {MouseEvent} */ event) => this.#hangUp(event),
      },
      icon("hangup"),
    );
    this.again = h(
      "button",
      { type: "button", class: "pill", testid: "again", onclick: () => this.#callAgain() },
      t("call_again"),
    );
    this.story = h(
      "button",
      { type: "button", class: "quiet", testid: "story-after", onclick: () => this.phone.read(this.#shown) },
      icon("story"),
      t("story"),
    );
    this.done = h(
      "button",
      {
        type: "button",
        class: "pill plain",
        testid: "dismiss",
        onclick: () => this.#leave(),
      },
      t("done"),
    );
    this.afterwards = h("div", { class: "after" }, this.again, this.done);
    this.mark = document.createElement("spech-mark");
    this.append(
      h(
        "div",
        { class: "far-end" },
        this.avatar,
        this.name,
        this.address,
        this.status,
        h("div", { class: "times" }, this.timer, this.recording),
        this.notices,
        this.members,
        this.typed,
      ),
      this.place,
      this.controls,
      h("div", { class: "main-action" }, this.hangup, this.afterwards),
      this.story,
      this.mark,
    );
    this.mark.phone = this.phone;
    this.members.phone = this.phone;
    this.notices.phone = this.phone;
    this.phone.addEventListener("tick", () => this.#tick());
    document.addEventListener("keydown", (event) => this.#typedAnywhere(event));
  }

  /** The focus goes to the name: a held Enter key must not press the next best button. */
  arrive() {
    this.name.focus({ preventScroll: true });
  }

  /**
   * @param {string} testid
   * @param {IconName} symbol
   * @param {string} label
   * @param {() => void} action
   */
  #control(testid, symbol, label, action) {
    return h(
      "button",
      { type: "button", class: `control to-${testid}`, testid, "aria-pressed": "false", onclick: action },
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
      this.#show(null);
    }
    const ended = !live(call);
    this.dataset.state = call.state;
    this.status.dataset.state = call.state;
    const together = this.phone.members(call).length > 1;
    setAddress(this.name, together ? t("conference") : nameOf(call));
    const facts = together ? [] : [addressOf(call), this.phone.accountName(call)];
    setAddress(this.address, facts.filter(Boolean).join(" · "));
    this.classList.toggle("with-members", together);
    setText(this.status, this.#statusText(call));
    show(this.controls, !ended);
    show(this.hangup, !ended);
    this.hangup.disabled = this.phone.leaves(call);
    show(this.afterwards, ended);
    show(this.story, ended);
    const waiting = this.phone.lines.findLast(live);
    setText(this.done, waiting ? t("back_to", { who: nameOf(waiting) }) : t("done"));
    show(this.again, ended && this.phone.account !== null);
    const answered = call.state === "answered";
    const partner = answered ? this.phone.partner(call) : null;
    show(this.hold, answered);
    show(this.record, answered);
    // What is typed or passed on concerns one far end only.
    show(this.keys, !together);
    show(this.pass, answered && !together);
    show(this.merge, partner !== null);
    show(this.more, answered && partner === null);
    if (together) this.#show(null);
    this.keys.disabled = (!answered && call.state !== "early") || call.on_hold;
    if (ended || (this.keys.disabled && this.#open === "keypad")) this.#show(null);
    if (!answered && this.#open === "transfer") this.#show(null);
    this.#showPressed(this.mute, call.muted, ["microphone", "mute"], ["muted", "unmute"]);
    this.#showPressed(this.hold, call.on_hold, ["hold", "hold"], ["resume", "resume"]);
    const recording = live(call) ? this.phone.recording(call) : null;
    const running = recording !== null && !recording.error;
    this.#showPressed(this.record, running, ["record", "record"], ["stop", "record.stop"]);
    show(this.recording, running);
    this.#showFace(call);
    setText(this.typed, this.#open === "keypad" ? this.phone.digits(call) : "");
    this.#tick();
  }

  /** @param {CallState} call */
  #statusText(call) {
    if (call.ended) return translated(call.ended.text);
    if (this.phone.leaves(call)) return t("state.leaving");
    const waited = performance.now() - this.#shownAt;
    if (call.state === "trying" && call.status === null && waited > SILENT_SERVER_MS)
      return t("state.silent");
    if (call.state === "answered") {
      const passing = transferText(call);
      if (passing) return passing;
      if (call.on_hold) return t("state.on_hold");
      if (call.held) return t("state.held");
      if (call.no_sound) return t("state.no_sound");
      if (call.muted) return t("state.muted");
      if (this.phone.plays(call) && this.phone.sound.microphone === "asking") return t("state.asking");
    }
    return t(`state.${call.state}`);
  }

  /**
   * A control that is pressed or not: its symbol and its label say what pressing it does.
   *
   * @param {HTMLButtonElement} control
   * @param {boolean} pressed
   * @param {[IconName, string]} off
   * @param {[IconName, string]} on
   */
  #showPressed(control, pressed, off, on) {
    if (control.getAttribute("aria-pressed") === String(pressed)) return;
    control.setAttribute("aria-pressed", String(pressed));
    const [symbol, label] = pressed ? on : off;
    control.querySelector(".disc")?.replaceChildren(icon(symbol));
    setText(/** @type {Element} */ (control.querySelector(".label")), t(label));
  }

  /**
   * The handset, or the sign of a hold.
   *
   * @param {CallState} call
   */
  #showFace(call) {
    const waits = live(call) && (call.on_hold || call.held);
    this.dataset.waits = String(waits);
    if (this.face.dataset.symbol === (waits ? "hold" : "call")) return;
    const symbol = waits ? "hold" : "call";
    this.face.dataset.symbol = symbol;
    this.face.replaceChildren(icon(symbol));
  }

  #tick() {
    const call = this.phone.selected;
    if (!call || !this.isConnected) return;
    setText(this.status, this.#statusText(call));
    const seconds = this.phone.seconds(call);
    setText(this.timer, seconds === null ? "" : clock(seconds));
    const recording = this.phone.recording(call);
    setText(this.recorded, recording ? clock(this.phone.recordings.seconds(recording)) : "");
  }

  /**
   * Let the halo follow the other side's voice. `speaker` in dBFS.
   *
   * @param {number} speaker
   */
  breathe(speaker) {
    setVoice(this.halo, speaker);
  }

  /** @param {MouseEvent} event */
  #hangUp(event) {
    // The call button was where this one is now: the second half of a double click is no hang-up.
    if (event.detail > 1 && performance.now() - this.#shownAt < DOUBLE_CLICK_MS) return;
    const call = this.phone.selected;
    if (call) this.phone.hangUpAll(call);
  }

  #toggleMute() {
    const call = this.phone.selected;
    if (call && live(call)) this.phone.mute(call.id, !call.muted);
  }

  #merge() {
    const call = this.phone.selected;
    const partner = call && this.phone.partner(call);
    if (partner) this.phone.merge([call.id, partner.id]);
  }

  #toggleRecording() {
    const call = this.phone.selected;
    if (!call) return;
    if (this.record.getAttribute("aria-pressed") === "true") this.phone.stopRecording(call);
    else this.phone.record(call.id);
  }

  #toggleHold() {
    const call = this.phone.selected;
    if (call) this.phone.hold(call.id, !call.on_hold);
  }

  /** @param {keyof typeof PANELS} name */
  #togglePanel(name) {
    this.#show(this.#open === name ? null : name);
    this.#panel?.arrive();
  }

  /**
   * Open a panel in place of the one that is open; null closes it.
   *
   * @param {keyof typeof PANELS | null} name
   */
  #show(name) {
    if (name === this.#open) return;
    this.#open = name;
    this.keys.setAttribute("aria-pressed", String(name === "keypad"));
    this.pass.setAttribute("aria-pressed", String(name === "transfer"));
    this.classList.toggle("with-panel", name !== null);
    this.#panel = name === null ? null : document.createElement(PANELS[name]);
    this.place.replaceChildren(...(this.#panel ? [this.#panel] : []));
    const call = this.phone.selected;
    setText(this.typed, name === "keypad" && call ? this.phone.digits(call) : "");
    if (!this.#panel) return;
    if (this.#panel instanceof Keypad) {
      this.#panel.holds = true;
      this.#panel.onPress = (digit) => this.phone.press(this.#shown, digit);
      this.#panel.onRelease = (digit) => this.phone.release(this.#shown, digit);
    }
    this.#panel.phone = this.phone;
  }

  /** Done with all ended calls; back to another one that waits. */
  #leave() {
    const waiting = this.phone.lines.findLast(live);
    for (const call of this.phone.lines) if (!live(call)) this.phone.dismiss(call.id);
    if (waiting) this.phone.select(waiting.id);
  }

  #callAgain() {
    const call = this.phone.selected;
    if (!call || this.phone.isDialling) return;
    this.phone.dismiss(call.id);
    this.phone.choose(call.account);
    this.phone.dial(call.remote);
  }

  /** @param {KeyboardEvent} event */
  #typedAnywhere(event) {
    if (!this.isConnected || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (takesText(event.target) || this.phone.reading !== null) return;
    const call = this.phone.selected;
    if (!call) return;
    if (!live(call)) {
      this.#typedAfterwards(event);
      return;
    }
    const key = event.key.toLowerCase();
    if (/^[0-9*#]$/.test(key) && call.state === "answered" && !call.on_hold) {
      this.#show("keypad");
      if (this.#panel instanceof Keypad) this.#panel.flash(event.key);
      this.phone.press(call.id, event.key);
      const up = (/** @type {Event} */ ending) => {
        if (ending instanceof KeyboardEvent && ending.key !== event.key) return;
        removeEventListener("keyup", up);
        removeEventListener("blur", up);
        this.phone.release(call.id, event.key);
      };
      addEventListener("keyup", up);
      addEventListener("blur", up);
    } else if (key === "m") this.#toggleMute();
    else if (key === "e") this.phone.hangUpAll(call);
    else if (key === "h" && call.state === "answered") this.#toggleHold();
    else if (key === "escape" && this.#open) this.#show(null);
    else return;
    event.preventDefault();
  }

  /**
   * After a call, typing begins the next one; Escape, or Enter beside the buttons, says Done.
   *
   * @param {KeyboardEvent} event
   */
  #typedAfterwards(event) {
    const digit = /^[0-9*#+]$/.test(event.key);
    const onButton = event.target instanceof Element && event.target.closest("button") !== null;
    const done = event.key === "Escape" || (event.key === "Enter" && !onButton);
    if (!digit && !done) return;
    if (!digit) this.#leave();
    else {
      this.phone.dismiss(this.#shown);
      this.phone.number = event.key;
      this.phone.show("dialer");
    }
    event.preventDefault();
  }
}

customElements.define("spech-call", CallView);
