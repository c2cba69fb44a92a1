// @ts-check
/** Says that the connection to the server is lost, and what that means for a call. */

import { h, Part, setText, show } from "../dom.js";
import { t } from "../i18n.js";
import { live } from "../calls.js";

// A connection that comes back within this time is not mentioned.
const PATIENCE_MS = 900;

export class Banner extends Part {
  /** @type {HTMLSpanElement} */
  text;
  /** @type {HTMLButtonElement} */
  retry;

  /** @type {HTMLButtonElement} */
  understood;
  /** @type {HTMLDivElement} */
  box;

  build() {
    // Not a live region: the seconds count down here; #announcer says once that the connection is lost.
    this.text = h("span", { class: "banner-text" });
    this.retry = h(
      "button",
      { type: "button", class: "pill", testid: "reconnect", onclick: () => this.phone.control.retry() },
      t("reconnect.now"),
    );
    this.understood = h(
      "button",
      { type: "button", class: "pill", testid: "understood", onclick: () => this.phone.understood() },
      t("understood"),
    );
    this.box = h(
      "div",
      { class: "banner", testid: "banner" },
      h("span", { class: "spinner", "aria-hidden": "true" }),
      this.text,
      this.retry,
      this.understood,
    );
    this.append(this.box);
    setInterval(() => this.refresh(), 500);
  }

  update() {
    const { control, sound } = this.phone;
    const away = control.lostAt === null ? 0 : performance.now() - control.lostAt;
    const lost = away < PATIENCE_MS && this.phone.callLost;
    this.hidden = away < PATIENCE_MS && !lost && (sound.possible || !this.phone.state);
    show(this.understood, lost);
    show(this.retry, away >= PATIENCE_MS && control.nextAttemptAt !== null);
    if (away >= PATIENCE_MS) setText(this.text, this.#lost(away));
    else if (lost) setText(this.text, t("lost.call_ended"));
    else if (!sound.possible) setText(this.text, t("insecure"));
    this.box.dataset.kind = away >= PATIENCE_MS ? "lost" : "told";
  }

  /** @param {number} away */
  #lost(away) {
    if (!this.phone.state) return t("connecting");
    if (!this.phone.calls.some(live)) return t("lost");
    const left = Math.ceil(this.phone.state.grace_s - away / 1000);
    return left > 0 ? t("lost.call", { seconds: left }) : t("lost.over");
  }
}

customElements.define("spech-banner", Banner);
