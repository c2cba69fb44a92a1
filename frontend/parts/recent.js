// @ts-check
/** The last calls. A click on one puts its number into the field, one on its handset calls it. */

import { element, h, Part } from "../dom.js";
import { clock, t } from "../i18n.js";
import { icon } from "../icons.js";
import { canCall, iconOf, kindOf, lengthOf, whenOf, whoOf } from "../past.js";

/** @import { CallEntry } from "../messages.js" */

export class Recent extends Part {
  /** @type {HTMLUListElement} */
  list;
  /** @type {CallEntry[] | null} */
  #shown = null;

  build() {
    this.classList.add("panel");
    this.list = h("ul", { class: "recent", testid: "recent" });
    this.append(
      h(
        "div",
        { class: "panel-head" },
        h("h2", null, t("recent")),
        h(
          "button",
          {
            type: "button",
            class: "quiet small",
            testid: "recent-all",
            onclick: () => this.phone.show("history"),
          },
          t("recent.all"),
        ),
      ),
      this.list,
    );
  }

  update() {
    const { view, history } = this.phone;
    this.hidden = history.recent.length === 0 || !["dialer", "call"].includes(view);
    if (history.recent === this.#shown) return;
    this.#shown = history.recent;
    this.list.replaceChildren(...history.recent.map((entry) => h("li", null, ...this.#row(entry))));
  }

  /** @param {CallEntry} entry */
  #row(entry) {
    const kind = kindOf(entry);
    const began = new Date(entry.began * 1000);
    const length = lengthOf(entry);
    const told = kind === entry.direction ? "unseen" : "recent-kind";
    const facts = [
      h("span", { class: told }, t(`recent.${kind}`)),
      length ? h("span", null, clock(length)) : null,
      h("time", { datetime: began.toISOString() }, whenOf(began)),
    ];
    return [
      h(
        "button",
        { type: "button", class: `recent-row ${kind}`, onclick: () => this.#pick(entry) },
        icon(iconOf(entry)),
        h(
          "span",
          { class: "past-text" },
          h("span", { class: "recent-who" }, whoOf(entry)),
          h("span", { class: "past-kind recent-facts" }, ...facts),
        ),
      ),
      canCall(entry) ? this.#redial(entry) : null,
    ].filter((part) => part !== null);
  }

  /** @param {CallEntry} entry */
  #redial(entry) {
    return h(
      "button",
      {
        type: "button",
        class: "quiet redial",
        testid: "recent-call",
        "aria-label": t("history.call", { who: whoOf(entry) }),
        title: t("history.call", { who: whoOf(entry) }),
        onclick: () => this.phone.callBack(entry),
      },
      icon("call"),
    );
  }

  /**
   * One calls back by the account of the call.
   *
   * @param {CallEntry} entry
   */
  #pick({ remote, account }) {
    if (this.phone.accounts.some(({ id }) => id === account)) this.phone.choose(account);
    this.phone.number = remote;
    this.phone.show("dialer");
    element("[data-testid=call]").focus();
  }
}

customElements.define("spech-recent", Recent);
