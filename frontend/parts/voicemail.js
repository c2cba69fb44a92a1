// @ts-check
/** The lamp of the mailboxes: how many voice messages wait. One tap calls the box. */

import { labelOf } from "../accounts.js";
import { h, Part, setText } from "../dom.js";
import { t } from "../i18n.js";
import { icon } from "../icons.js";

/** @import { AccountState } from "../messages.js" */

export class Voicemail extends Part {
  /** @type {Map<string, HTMLButtonElement>} By account. */
  #lamps = new Map();

  build() {
    this.setAttribute("role", "status");
  }

  update() {
    const { accounts } = this.phone;
    const waiting = accounts.filter(({ mailbox }) => mailbox?.waiting);
    for (const [id, lamp] of this.#lamps) {
      if (waiting.some((account) => account.id === id)) continue;
      lamp.remove();
      this.#lamps.delete(id);
    }
    for (const account of waiting) {
      const lamp = this.#lamps.get(account.id) ?? this.#lamp(account.id);
      const count = account.mailbox?.new ?? 0;
      const told = t(count === 1 ? "voicemail.one" : count ? "voicemail.count" : "voicemail.some", { count });
      const label = accounts.length > 1 ? `${labelOf(account, accounts)}: ${told}` : told;
      setText(lamp.children[1], count ? String(count) : "");
      const action = t(account.mailbox?.number ? "voicemail.call" : "voicemail.settings");
      lamp.setAttribute("aria-label", `${label}. ${action}`);
      lamp.title = `${label}. ${action}`;
    }
    this.hidden = waiting.length === 0;
  }

  /** @param {string} id of the account */
  #lamp(id) {
    const lamp = h(
      "button",
      { type: "button", class: "pill mailbox", testid: "voicemail", onclick: () => this.#press(id) },
      icon("voicemail"),
      h("span", null),
    );
    this.#lamps.set(id, lamp);
    this.append(lamp);
    return lamp;
  }

  /** @param {string} id */
  #press(id) {
    /** @type {AccountState | undefined} */
    const account = this.phone.accounts.find((each) => each.id === id);
    if (account?.mailbox?.number) this.phone.dial(account.mailbox.number, id);
    else this.phone.show("settings");
  }
}

customElements.define("spech-voicemail", Voicemail);
