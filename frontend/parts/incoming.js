// @ts-check
/** Calls that ring here, each with its two answers. They stand above whatever else is open. */

import { h, Part, setAddress, takesText } from "../dom.js";
import { t } from "../i18n.js";
import { icon } from "../icons.js";
import { addressOf, nameOf } from "../calls.js";

/** @import { CallState } from "../messages.js" */
/** @import { IconName } from "../icons.js" */

export class Incoming extends Part {
  /** @type {Map<string, HTMLElement>} */
  #cards = new Map();

  build() {
    this.setAttribute("aria-live", "assertive");
    document.addEventListener("keydown", (event) => this.#typedAnywhere(event));
  }

  /** The focus goes to the caller's name, from where Tab leads to the two answers. */
  arrive() {
    /** @type {HTMLElement | null} */ (this.querySelector(".who"))?.focus({ preventScroll: true });
  }

  /**
   * A answers, D declines the call that has rung longest.
   *
   * @param {KeyboardEvent} event
   */
  #typedAnywhere(event) {
    const [call] = this.phone.ringing;
    if (!call || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (takesText(event.target)) return;
    const key = event.key.toLowerCase();
    if (key === "a") this.phone.answer(call.id);
    else if (key === "d") this.phone.decline(call.id);
    else return;
    event.preventDefault();
  }

  update() {
    const ringing = this.phone.ringing;
    const present = new Set(ringing.map((call) => call.id));
    for (const [id, card] of this.#cards) {
      if (present.has(id)) continue;
      card.remove();
      this.#cards.delete(id);
    }
    for (const call of ringing) {
      if (this.#cards.has(call.id)) continue;
      const card = this.#card(call);
      this.#cards.set(call.id, card);
      this.append(card);
    }
    this.hidden = ringing.length === 0;
  }

  /** @param {CallState} call */
  #card(call) {
    const { id } = call;
    const account = this.phone.accountName(call);
    const who = h("h1", { class: "who", testid: "caller", tabindex: -1 });
    setAddress(who, nameOf(call));
    const address = h("p", { class: "address" });
    setAddress(address, addressOf(call));
    return h(
      "section",
      { class: "ringing", testid: "incoming", "aria-label": t("incoming") },
      h(
        "div",
        { class: "avatar pulsing", "aria-hidden": "true" },
        h("span", { class: "halo" }),
        h("span", { class: "face" }, icon("call")),
      ),
      h("p", { class: "eyebrow" }, account ? t("incoming.to", { account }) : t("incoming")),
      who,
      address,
      h(
        "div",
        { class: "choice main-action" },
        this.#choice("decline", "stop", "hangup", () => this.phone.decline(id)),
        this.#choice("answer", "go", "call", () => this.phone.answer(id)),
      ),
    );
  }

  /**
   * @param {string} name
   * @param {string} kind
   * @param {IconName} symbol
   * @param {() => void} action
   */
  #choice(name, kind, symbol, action) {
    return h(
      "button",
      { type: "button", class: "choose", testid: name, onclick: action },
      h("span", { class: `round ${kind}` }, icon(symbol)),
      h("span", { class: "label" }, t(name)),
    );
  }
}

customElements.define("spech-incoming", Incoming);
