// @ts-check
/** The accounts in the settings, each with its state, to choose the one to look at. */

import { labelOf } from "../accounts.js";
import { h, setText } from "../dom.js";
import { t, translated } from "../i18n.js";

/** @import { AccountState } from "../messages.js" */

export class Accounts {
  element = h("div", { class: "accounts", testid: "accounts", role: "group", "aria-label": t("accounts") });
  /** @type {Map<string | null, HTMLElement>} */
  #rows = new Map();
  #choose;

  /**
   * `choose` gets the id of the account that was clicked, null for the new one.
   *
   * @param {(id: string | null) => void} choose
   */
  constructor(choose) {
    this.#choose = choose;
  }

  /**
   * Show `accounts`, and a new one when `chosen`, the id of the one that is looked at, is null.
   *
   * @param {AccountState[]} accounts
   * @param {string | null} chosen
   */
  update(accounts, chosen) {
    /** @type {[string | null, string, { state: string, reason: string }][]} */
    const wanted = accounts.map((/** @type {AccountState} */ account) => [
      account.id,
      labelOf(account, accounts),
      account.registration,
    ]);
    if (chosen === null) wanted.push([null, t("account.new"), { state: "none", reason: "" }]);
    for (const [id, row] of this.#rows) {
      if (wanted.some(([each]) => each === id)) continue;
      row.remove();
      this.#rows.delete(id);
    }
    for (const [id, label, { state, reason }] of wanted) {
      const row = this.#rows.get(id) ?? this.#row(id);
      row.dataset.state = state;
      row.setAttribute("aria-pressed", String(id === chosen));
      setText(row.children[1], label);
      const words = state === "none" ? "" : t(`account.${state}`);
      setText(row.children[2], state === "failed" && reason ? `${words}: ${translated(reason)}` : words);
    }
    this.element.hidden = wanted.length < 2;
  }

  /** @param {string | null} id */
  #row(id) {
    const row = h(
      "button",
      { type: "button", class: "account", testid: `account-${id ?? "new"}`, onclick: () => this.#choose(id) },
      h("span", { class: "dot" }),
      h("span", { class: "account-name" }),
      h("span", { class: "account-state" }),
    );
    this.#rows.set(id, row);
    this.element.append(row);
    return row;
  }
}
