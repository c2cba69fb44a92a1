// @ts-check
/** The last calls of this browser. A click puts the number into the field. */

import { element, h, Part, setText, show } from "../dom.js";
import { clock, currentLanguage, t } from "../i18n.js";
import { icon } from "../icons.js";

/** @import { Entry } from "../recents.js" */

/** How many are shown before the fold. */
const FIRST = 8;
const DAY_MS = 86_400_000;

/** @param {number} at */
function when(at) {
  const date = new Date(at);
  const today = new Date().toDateString() === date.toDateString();
  if (today) return date.toLocaleTimeString(currentLanguage(), { hour: "numeric", minute: "2-digit" });
  if (Date.now() - at < 6 * DAY_MS) return date.toLocaleDateString(currentLanguage(), { weekday: "short" });
  return date.toLocaleDateString(currentLanguage(), { day: "numeric", month: "short" });
}

export class Recent extends Part {
  /** @type {HTMLUListElement} */
  #list;
  /** @type {unknown} */
  #shown = null;
  /** @type {HTMLButtonElement} */
  #more;
  #all = false;

  build() {
    this.classList.add("panel");
    this.#list = h("ul", { class: "recent", testid: "recent" });
    this.#more = h(
      "button",
      { type: "button", class: "quiet small", testid: "recent-more", onclick: () => this.#unfold() },
      "",
    );
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
            testid: "recent-clear",
            onclick: () => this.phone.forgetRecent(),
          },
          t("recent.clear"),
        ),
      ),
      this.#list,
      this.#more,
    );
  }

  #unfold() {
    this.#all = !this.#all;
    this.#shown = null;
    this.update();
  }

  update() {
    const recent = this.phone.recents.list;
    this.hidden = recent.length === 0 || this.phone.view === "settings" || this.phone.view === "welcome";
    if (recent === this.#shown) return;
    this.#shown = recent;
    show(this.#more, recent.length > FIRST);
    setText(this.#more, t(this.#all ? "recent.fewer" : "recent.all", { count: recent.length }));
    const listed = this.#all ? recent : recent.slice(0, FIRST);
    this.#list.replaceChildren(...listed.map((entry) => h("li", null, this.#row(entry))));
  }

  /** @param {Entry} entry */
  #row(entry) {
    const exception = entry.missed ? "missed" : entry.declined ? "declined" : null;
    const kind = entry.elsewhere ? "elsewhere" : (exception ?? entry.direction);
    const seen = kind !== entry.direction;
    return h(
      "button",
      { type: "button", class: `recent-row ${kind}`, onclick: () => this.#pick(entry) },
      icon(kind === "declined" ? "hangup" : kind === "elsewhere" ? "incoming" : kind),
      h("span", { class: "recent-who" }, entry.name || entry.remote),
      h("span", { class: seen ? "recent-kind" : "unseen" }, t(`recent.${kind}`)),
      entry.seconds ? h("span", { class: "recent-length" }, clock(entry.seconds)) : null,
      h("time", { datetime: new Date(entry.at).toISOString() }, when(entry.at)),
    );
  }

  /**
   * One calls back by the account of the call.
   *
   * @param {Entry} entry
   */
  #pick({ remote, account }) {
    if (account) this.phone.choose(account);
    this.phone.number = remote;
    this.phone.show("dialer");
    element("[data-testid=call]").focus();
  }
}

customElements.define("spech-recent", Recent);
