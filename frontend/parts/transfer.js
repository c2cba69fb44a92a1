// @ts-check
/** Passing a call on: to a number, or to the far end of another call that is up. */

import { h, Part, setProblem, setText, show } from "../dom.js";
import { t, translated } from "../i18n.js";
import { icon } from "../icons.js";
import { nameOf, tidy } from "../calls.js";

/** @import { CallState } from "../messages.js" */

const RINGING = 180;

/**
 * How a transfer stands, in words; empty when there is none.
 *
 * @param {CallState} call
 */
export function transferText(call) {
  if (!call.transfer || call.transfer.over) return "";
  const { target, status } = call.transfer;
  return t(status >= RINGING ? "transfer.ringing" : "transfer.trying", { who: target });
}

export class TransferPanel extends Part {
  /** @type {HTMLInputElement} */
  input;
  /** @type {HTMLButtonElement} */
  go;
  /** @type {HTMLButtonElement} */
  connect;
  /** @type {HTMLParagraphElement} */
  problem;
  /** @type {HTMLParagraphElement} */
  together;
  /** @type {HTMLDivElement} */
  both;

  /** @type {string | null} The transfer whose failure has been read. */
  #read = null;

  build() {
    this.input = h("input", {
      type: "text",
      testid: "transfer-number",
      inputmode: "email",
      autocomplete: "off",
      autocapitalize: "off",
      spellcheck: "false",
      enterkeyhint: "go",
      "aria-label": t("transfer.to"),
      placeholder: t("number.placeholder"),
      oninput: () => this.#edited(),
    });
    this.go = h(
      "button",
      { type: "submit", class: "round go small", testid: "transfer-go", "aria-label": t("transfer.go") },
      icon("transfer"),
    );
    this.problem = h("p", {
      class: "problem",
      role: "alert",
      id: "transfer-error",
      testid: "transfer-error",
      hidden: true,
    });
    this.connect = h(
      "button",
      { type: "button", class: "pill primary", testid: "connect", onclick: () => this.#connect() },
      t("connect"),
    );
    this.together = h("p", { class: "help" });
    this.both = h("div", { class: "transfer-both" }, this.connect, this.together);
    this.append(
      this.both,
      h(
        "form",
        { class: "transfer", onsubmit: (/** @type {SubmitEvent} */ event) => this.#submit(event) },
        h("label", { class: "field-label" }, t("transfer.to")),
        h("div", { class: "transfer-row" }, this.input, this.go),
      ),
      this.problem,
    );
    // A failure from before this panel was opened is not shown again.
    this.#read = JSON.stringify(this.phone.selected?.transfer ?? null);
  }

  arrive() {
    this.input.focus({ preventScroll: true });
  }

  update() {
    const call = this.phone.selected;
    if (!call) return;
    const other = this.phone.partner(call);
    show(this.both, other !== null);
    if (other) setText(this.together, t("connect.why", { one: nameOf(call), other: nameOf(other) }));
    const busy = call.transfer !== null && !call.transfer.over;
    this.input.disabled = busy;
    this.connect.disabled = busy;
    this.go.disabled = busy || !tidy(this.input.value);
    const { transfer } = call;
    const failed = transfer?.over && transfer.text && JSON.stringify(transfer) !== this.#read;
    show(this.problem, Boolean(failed));
    setProblem(this.input, failed ? this.problem : null);
    if (transfer && failed)
      setText(this.problem, t("transfer.failed", { who: transfer.target, why: translated(transfer.text) }));
  }

  #edited() {
    this.#forget();
    this.update();
  }

  #forget() {
    this.#read = JSON.stringify(this.phone.selected?.transfer ?? null);
  }

  /** @param {SubmitEvent} event */
  #submit(event) {
    event.preventDefault();
    if (this.go.disabled) return;
    this.#read = null;
    if (this.phone.selected) this.phone.transfer(this.phone.selected.id, this.input.value);
  }

  #connect() {
    this.#read = null;
    const call = this.phone.selected;
    const partner = call && this.phone.partner(call);
    if (partner) this.phone.connect(call.id, partner.id);
  }
}

customElements.define("spech-transfer", TransferPanel);
