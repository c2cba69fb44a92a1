// @ts-check
/** The ways to the views beside the telephone itself. That of the calls counts the missed ones. */

import { h, Part, setText, show } from "../dom.js";
import { t } from "../i18n.js";
import { icon } from "../icons.js";

/** @import { IconName } from "../icons.js" */

export class Navigation extends Part {
  /** @type {HTMLButtonElement} */
  calls;
  /** @type {HTMLSpanElement} */
  missed;
  /** @type {HTMLButtonElement} */
  chats;
  /** @type {HTMLSpanElement} */
  unread;
  /** @type {HTMLButtonElement} */
  people;
  /** @type {HTMLButtonElement} */
  gear;

  build() {
    this.missed = h("span", { class: "count", testid: "missed", "aria-hidden": "true" });
    this.calls = this.#way("history", "past");
    this.calls.append(this.missed);
    this.unread = h("span", { class: "count", testid: "unread", "aria-hidden": "true" });
    this.chats = this.#way("chats", "chat");
    this.chats.append(this.unread);
    this.people = this.#way("contacts", "person");
    this.gear = this.#way("settings", "settings");
    this.append(this.calls, this.chats, this.people, this.gear);
  }

  /**
   * @param {"history" | "chats" | "contacts" | "settings"} view
   * @param {IconName} symbol
   */
  #way(view, symbol) {
    const open = () => this.phone.show(this.phone.view === view ? null : view);
    return h(
      "button",
      { type: "button", class: "quiet way", testid: `${view}-open`, title: t(view), onclick: open },
      icon(symbol),
    );
  }

  update() {
    const { view, history, state } = this.phone;
    const { missed } = history;
    show(this.calls, state !== null);
    show(this.people, state !== null);
    show(this.missed, missed > 0);
    setText(this.missed, missed > 99 ? "99+" : String(missed));
    this.calls.setAttribute(
      "aria-label",
      missed ? `${t("history")}, ${t("history.unseen", { count: missed })}` : t("history"),
    );
    const { unread } = this.phone.chats;
    show(this.chats, this.phone.account !== null);
    show(this.unread, unread > 0);
    setText(this.unread, unread > 99 ? "99+" : String(unread));
    this.chats.setAttribute(
      "aria-label",
      unread ? `${t("chats")}, ${t("chat.unread", { count: unread })}` : t("chats"),
    );
    this.chats.setAttribute("aria-pressed", String(view === "chats"));
    this.people.setAttribute("aria-label", t("contacts"));
    this.gear.setAttribute("aria-label", t("settings"));
    this.calls.setAttribute("aria-pressed", String(view === "history"));
    this.people.setAttribute("aria-pressed", String(view === "contacts"));
    this.gear.setAttribute("aria-pressed", String(view === "settings"));
  }
}

customElements.define("spech-navigation", Navigation);
