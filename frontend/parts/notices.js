// @ts-check
/** What the selected call asks the user, or warns about: no sound, a call elsewhere, a transfer, an error. */

import { h, Part, setText, show } from "../dom.js";
import { inWords, t } from "../i18n.js";
import { live } from "../calls.js";

/** @typedef {{box: HTMLDivElement, text: HTMLSpanElement, button: HTMLButtonElement}} Notice */

export class Notices extends Part {
  /** @type {Notice} */
  hear;
  /** @type {Notice} */
  elsewhere;
  /** @type {Notice} */
  silent;
  /** @type {HTMLParagraphElement} */
  unheard;
  /** @type {Notice} */
  asked;
  /** @type {HTMLParagraphElement} */
  trouble;

  /** Id of the call that they are about. */
  #shown = "";

  build() {
    this.className = "notices";
    const notice = (
      /** @type {string} */ testid,
      /** @type {string} */ kind,
      /** @type {string} */ label,
      /** @type {() => void} */ action,
    ) => {
      const text = h("span");
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
    this.unheard = h(
      "p",
      { class: "notice warn", role: "status", testid: "microphone-silent", hidden: true },
      t("microphone.silent"),
    );
    this.asked = notice("follow", "ask", t("follow"), () => this.phone.follow(this.#shown, true));
    this.asked.box.append(
      h(
        "button",
        {
          type: "button",
          class: "pill",
          testid: "stay",
          onclick: () => this.phone.follow(this.#shown, false),
        },
        t("follow.stay"),
      ),
    );
    this.trouble = h("p", { class: "problem", role: "alert", testid: "call-error", hidden: true });
    this.append(
      this.asked.box,
      this.hear.box,
      this.elsewhere.box,
      this.silent.box,
      this.unheard,
      this.trouble,
    );
  }

  update() {
    const call = this.phone.selected;
    if (!call) return;
    this.#shown = call.id;
    const { sound, control, error } = this.phone;
    const here = live(call) && this.phone.owns(call) && this.phone.plays(call);
    show(this.hear.box, here && (sound.blocked || sound.stalled));
    show(this.hear.button, sound.blocked);
    setText(this.hear.text, t(sound.blocked ? "hear.why" : "speaker.missing"));
    show(
      this.elsewhere.box,
      live(call) && call.state !== "trying" && !this.phone.owns(call) && control.connected,
    );
    setText(this.elsewhere.text, t("elsewhere"));
    show(this.asked.box, call.referral !== null);
    if (call.referral) setText(this.asked.text, t("follow.why", { who: call.referral.target }));
    const missing = ["denied", "missing", "failed", "insecure"].includes(sound.microphone);
    // One thing at a time: to hear comes before to be heard.
    show(
      this.silent.box,
      live(call) && missing && !sound.blocked && (here || sound.microphone === "insecure"),
    );
    if (missing) setText(this.silent.text, t(`microphone.${sound.microphone}`));
    show(this.silent.button, sound.microphone !== "insecure");
    show(this.unheard, here && sound.silent && !call.muted && call.state === "answered");
    const lost = this.phone.recording(call)?.error;
    show(this.trouble, error !== null || Boolean(lost));
    if (error) setText(this.trouble, inWords(error).join(" "));
    else if (lost) setText(this.trouble, t("recording.lost", { why: lost }));
  }
}

customElements.define("spech-notices", Notices);
