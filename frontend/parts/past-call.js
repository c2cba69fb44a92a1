// @ts-check
/** One call of the history: a row, and behind it what is known of the call and what one can do with it. */

import { labelOf } from "../accounts.js";
import { codecInUse } from "../codecs.js";
import { h, show } from "../dom.js";
import { clock, number, t, translated } from "../i18n.js";
import { icon } from "../icons.js";
import { gradeName, lineGrade } from "../quality.js";
import { canCall, iconOf, kindOf, lengthOf, timeOf, whoOf } from "../past.js";

/** @import { CallEntry } from "../messages.js" */
/** @import { Phone } from "../phone.js" */

export class PastCall {
  #entry;
  #phone;
  /** @type {HTMLElement | null} */
  #details = null;
  /** @type {HTMLButtonElement} */
  #row;
  element;

  /**
   * @param {CallEntry} entry
   * @param {Phone} phone
   */
  constructor(entry, phone) {
    this.#entry = entry;
    this.#phone = phone;
    const began = new Date(entry.began * 1000);
    const kind = kindOf(entry);
    const length = lengthOf(entry);
    const who = whoOf(entry);
    this.#row = h(
      "button",
      {
        type: "button",
        class: `recent-row ${kind}`,
        testid: "past-call",
        "aria-expanded": "false",
        onclick: () => this.#toggle(),
      },
      icon(iconOf(entry)),
      h(
        "span",
        { class: "past-text" },
        h("span", { class: "recent-who" }, who),
        h("span", { class: "past-kind" }, [t(`recent.${kind}`), this.#account()].filter(Boolean).join(" · ")),
      ),
      length ? h("span", { class: "recent-length" }, clock(length)) : null,
      h("time", { datetime: began.toISOString() }, timeOf(began)),
    );
    const again = h(
      "button",
      {
        type: "button",
        class: "quiet redial",
        testid: "past-call-again",
        "aria-label": t("history.call", { who }),
        title: t("history.call", { who }),
        onclick: () => phone.callBack(entry),
      },
      icon("call"),
    );
    this.element = h("li", null, this.#row, canCall(entry) ? again : null);
  }

  /** The account of the call: its label while it is there, where there are several. */
  #account() {
    const { accounts } = this.#phone;
    const account = accounts.find(({ id }) => id === this.#entry.account);
    if (!account) return this.#entry.line.replace(/^sips?:/, "");
    return accounts.length > 1 ? labelOf(account, accounts) : "";
  }

  #toggle() {
    const opened = this.#details === null;
    this.#row.setAttribute("aria-expanded", String(opened));
    if (opened) {
      this.#details = this.#build();
      this.element.append(this.#details);
    } else {
      this.#details?.remove();
      this.#details = null;
    }
    this.update();
  }

  #build() {
    const entry = this.#entry;
    const codecs = this.#phone.state?.codecs ?? [];
    const facts = [
      whoOf(entry) === entry.remote ? "" : entry.remote,
      entry.codec && codecInUse(entry.codec, codecs),
      entry.mos &&
        `${t(`grade.${gradeName(lineGrade(entry))}`)} (${t("figure.mos")} ${number(entry.mos, 1)})`,
    ].filter(Boolean);
    const recordings = entry.recordings.map((name) => {
      const source = `recordings/${encodeURIComponent(name)}`;
      const player = h("audio", { controls: true, preload: "none", src: source, testid: "past-recording" });
      player.dataset.name = name;
      return player;
    });
    return h(
      "div",
      { class: "past-details", testid: "past-details" },
      facts.length ? h("p", { class: "past-facts" }, facts.join(" · ")) : null,
      h("p", { class: "past-end" }, translated(entry.text)),
      ...recordings,
      h(
        "div",
        { class: "past-actions" },
        canCall(entry)
          ? this.#action("past-call-go", "call", t("call"), () => this.#phone.callBack(entry))
          : null,
        canCall(entry) && !entry.contact
          ? this.#action("past-add", "person", t("contact.add"), () => this.#phone.addContact(entry))
          : null,
        entry.told
          ? this.#action("past-story", "story", t("story"), () => this.#phone.readEntry(entry))
          : null,
        this.#action("past-forget", "bin", t("history.delete"), () => this.#phone.history.forget(entry.id)),
      ),
    );
  }

  /**
   * @param {string} testid
   * @param {"call" | "person" | "story" | "bin"} symbol
   * @param {string} text
   * @param {() => void} action
   */
  #action(testid, symbol, text, action) {
    return h("button", { type: "button", class: "pill small", testid, onclick: action }, icon(symbol), text);
  }

  /** A recording may be deleted meanwhile. */
  update() {
    const present = new Set(this.#phone.recordings.complete.map(({ name }) => name));
    for (const player of this.#details?.querySelectorAll("audio") ?? [])
      show(player, present.has(player.dataset.name ?? ""));
  }
}
