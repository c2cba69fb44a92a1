// @ts-check
/** The favourites, each with a lamp that tells whether one can be called now. A click calls. */

import { h, Part, setText } from "../dom.js";
import { t } from "../i18n.js";
import { icon } from "../icons.js";

/** @import { Favourite } from "../messages.js" */

export class Favourites extends Part {
  /** @type {HTMLUListElement} */
  list;
  #shown = "";

  build() {
    this.classList.add("panel");
    this.list = h("ul", { class: "recent", testid: "favourites" });
    this.append(h("h2", null, t("favourites")), this.list);
  }

  update() {
    const favourites = this.phone.contacts.state?.favourites ?? [];
    this.hidden = favourites.length === 0 || !["dialer", "call"].includes(this.phone.view);
    const wanted = JSON.stringify(favourites.map(({ contact, name, number }) => [contact, name, number]));
    if (wanted !== this.#shown) {
      this.#shown = wanted;
      this.list.replaceChildren(...favourites.map((each) => h("li", null, this.#row(each))));
    }
    for (const [index, { lamp }] of favourites.entries()) {
      const row = this.list.children[index];
      const dot = row.querySelector(".busy-lamp");
      if (dot instanceof HTMLElement) dot.dataset.lamp = lamp ?? "none";
      const words = row.querySelector(".recent-kind");
      if (words) setText(words, lamp ? t(`lamp.${lamp}`) : "");
    }
  }

  /** @param {Favourite} favourite */
  #row({ name, number }) {
    return h(
      "button",
      {
        type: "button",
        class: "recent-row",
        testid: "favourite",
        title: t("history.call", { who: number }),
        onclick: () => this.phone.dial(number),
      },
      h("span", { class: "busy-lamp", "aria-hidden": "true" }),
      h("span", { class: "recent-who" }, name),
      h("span", { class: "recent-kind" }),
      icon("call"),
    );
  }
}

customElements.define("spech-favourites", Favourites);
