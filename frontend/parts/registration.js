// @ts-check
/** The account's state in the header, the worst one where there are several. */

import { labelOf } from "../accounts.js";
import { h, Part, setText, show } from "../dom.js";
import { t } from "../i18n.js";
import { icon } from "../icons.js";

/** @import { AccountState } from "../messages.js" */

// The worst first.
const STATES = ["failed", "registering", "registered"];

export class Registration extends Part {
  /** @type {HTMLButtonElement} */
  ring;
  /** @type {HTMLSpanElement} */
  text;
  /** @type {HTMLParagraphElement} */
  badge;
  /** @type {HTMLButtonElement} */
  quiet;

  build() {
    this.text = h("span", { class: "badge-text" });
    this.badge = h(
      "p",
      { class: "badge", testid: "registration", role: "status" },
      h("span", { class: "dot" }),
      this.text,
    );
    this.quiet = h(
      "button",
      {
        type: "button",
        class: "quiet moon",
        testid: "do-not-disturb",
        "aria-label": t("rule.do_not_disturb"),
        title: t("rule.do_not_disturb"),
        onclick: () => this.phone.toggleDoNotDisturb(),
      },
      icon("moon"),
    );
    this.ring = h(
      "button",
      {
        type: "button",
        class: "pill ring-chip",
        testid: "enable-ringing",
        title: t("ring.enable.why"),
        onclick: () => this.phone.tones.unlock(),
      },
      t("ring.enable"),
    );
    this.append(this.ring, this.badge, this.quiet);
  }

  update() {
    show(this.ring, this.phone.tones.blocked && this.phone.account !== null);
    const { accounts, control } = this.phone;
    const settings = this.phone.state?.call_settings;
    show(this.quiet, this.phone.account !== null);
    this.quiet.setAttribute("aria-pressed", String(settings?.do_not_disturb === true));
    const worst = STATES.find((each) => accounts.some(({ registration }) => registration.state === each));
    const state = !control.connected ? "offline" : (worst ?? "none");
    this.badge.dataset.state = state;
    show(this.badge, state !== "none" && this.phone.state !== null);
    if (state !== "none") setText(this.text, this.#words(state, accounts));
    this.badge.title = accounts
      .map(({ user, server, registration }) =>
        [`${user}@${server}`, registration.reason].filter(Boolean).join(" – "),
      )
      .join("\n");
  }

  /**
   * @param {string} state
   * @param {AccountState[]} accounts
   */
  #words(state, accounts) {
    const failed = accounts.filter(({ registration }) => registration.state === "failed");
    if (accounts.length > 1 && state === "registered")
      return t("registration.all", { count: accounts.length });
    if (accounts.length > 1 && failed.length === 1 && state === "failed")
      return t("registration.one", { account: labelOf(failed[0], accounts) });
    return t(`registration.${state}`, { user: accounts[0]?.user ?? "" });
  }
}

customElements.define("spech-registration", Registration);
