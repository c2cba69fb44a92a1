// @ts-check
/** Checks a saved account step by step, with a call to an echo test if one is named. */

import { h, setText, show } from "../dom.js";
import { inWords, t } from "../i18n.js";
import { Steps } from "./steps.js";

/** @import { CallState } from "../messages.js" */
/** @import { Phone } from "../phone.js" */

export class Check {
  #phone;
  /** @type {string | null} */
  #account = null;
  #steps = new Steps();
  /** @type {Set<string> | null} Ids of the calls that there were when the check began, null when none runs. */
  #before = null;
  #echo = h("input", {
    id: "check-echo",
    testid: "check-echo",
    autocomplete: "off",
    inputmode: "tel",
    maxlength: 256,
  });
  #go = h("button", { type: "submit", class: "pill", testid: "check-go" }, t("checkup.go"));
  #problem = h("p", { class: "problem", role: "alert", testid: "check-problem", hidden: true });
  element = h(
    "details",
    { class: "checkup", testid: "checkup" },
    h("summary", null, t("checkup")),
    h(
      "form",
      { novalidate: true, onsubmit: (/** @type {SubmitEvent} */ event) => this.#run(event) },
      h(
        "div",
        { class: "field" },
        h("label", { for: "check-echo" }, t("checkup.echo")),
        h("p", { class: "help" }, t("checkup.echo.help")),
        h("div", { class: "beside" }, h("div", { class: "input" }, this.#echo), this.#go),
      ),
    ),
    this.#steps.element,
    this.#problem,
  );

  /** @param {Phone} phone */
  constructor(phone) {
    this.#phone = phone;
  }

  /**
   * Look at another account; a new one (null) is checked when it is saved.
   *
   * @param {string | null} account
   */
  turnTo(account) {
    if (account !== this.#account) this.#steps.clear();
    this.#account = account;
    show(this.element, account !== null);
    show(this.#problem, false);
  }

  /**
   * Whether the check-up makes this call.
   *
   * @param {CallState} call
   */
  makes({ id, direction }) {
    return this.#before !== null && direction === "outgoing" && !this.#before.has(id);
  }

  /** @param {SubmitEvent} event */
  async #run(event) {
    event.preventDefault();
    const account = this.#phone.accounts.find(({ id }) => id === this.#account);
    if (!account || this.#go.disabled) return;
    const echo = this.#echo.value.trim();
    const certificate = account.transport === "tls" ? ["certificate"] : [];
    const last = echo ? ["echo"] : [];
    this.#go.disabled = true;
    this.#before = new Set(this.#phone.calls.map(({ id }) => id));
    show(this.#problem, false);
    this.#steps.begin(["name", "connection", ...certificate, "registration", "options", ...last]);
    try {
      await this.#phone.checkAccount(account.id, echo || null, (step) => {
        if (account.id === this.#account) this.#steps.add(step);
      });
    } catch (error) {
      setText(this.#problem, inWords(error).join(" ").trim());
      show(this.#problem, true);
    }
    this.#steps.end();
    this.#before = null;
    this.#go.disabled = false;
  }
}
