// @ts-check
/** Numbers that the server suggests, such as those of the demo's exchange. A click puts one into the field. */

import { element, h, Part } from "../dom.js";
import { t, translated } from "../i18n.js";
import { icon } from "../icons.js";

/** @import { KnownNumber } from "../messages.js" */

export class Numbers extends Part {
  /** @type {HTMLUListElement} */
  list;

  build() {
    this.classList.add("panel");
    this.list = h("ul", { class: "recent", testid: "numbers" });
    this.append(h("h2", null, t("numbers")), this.list);
  }

  update() {
    const numbers = this.phone.state?.numbers ?? [];
    this.hidden = this.phone.view !== "dialer" || numbers.length === 0;
    // They stay the same as long as the server runs.
    if (this.list.childElementCount === numbers.length) return;
    this.list.replaceChildren(...numbers.map((known) => h("li", null, this.#row(known))));
  }

  /** @param {KnownNumber} known */
  #row({ number, title }) {
    return h(
      "button",
      { type: "button", class: "recent-row", onclick: () => this.#pick(number) },
      icon("outgoing"),
      h("span", { class: "recent-who" }, number),
      h("span", { class: "recent-kind" }, translated(title)),
    );
  }

  /** @param {string} number */
  #pick(number) {
    this.phone.number = number;
    this.phone.show("dialer");
    element("[data-testid=call]").focus();
  }
}

customElements.define("spech-numbers", Numbers);
