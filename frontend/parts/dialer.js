// @ts-check
/** The number field, the keypad and the call button. */

import { labelOf } from "../accounts.js";
import { h, Part, setProblem, setText, show, takesText } from "../dom.js";
import { inWords, t } from "../i18n.js";
import { icon } from "../icons.js";
import { live, tidy } from "../calls.js";
import { Suggestions } from "./suggestions.js";

const REPEAT_MS = 90;
const REPEAT_AFTER_MS = 450;
// How much smaller a long number is written, so that it stays in sight.
const SMALLEST = 0.45;

export class Dialer extends Part {
  /** @type {HTMLInputElement} */
  #input;
  /** @type {HTMLButtonElement} */
  #erase;
  /** @type {HTMLButtonElement} */
  #call;
  /** @type {HTMLParagraphElement} */
  #error;
  /** @type {HTMLElementTagNameMap["spech-keypad"]} */
  #keypad;
  /** @type {HTMLDivElement} */
  #from;
  #repeat = 0;
  /** @type {Suggestions} */
  #suggestions;

  build() {
    this.className = "dialer";
    this.#input = h("input", {
      class: "number",
      testid: "number",
      type: "text",
      inputmode: "email",
      autocomplete: "off",
      autocapitalize: "off",
      spellcheck: "false",
      enterkeyhint: "go",
      "aria-label": t("number.label"),
      placeholder: t("number.placeholder"),
      oninput: () => this.#edited(),
      onkeydown: (/** @type {KeyboardEvent} */ event) => this.#typed(event),
      onpaste: (/** @type {ClipboardEvent} */ event) => this.#paste(event),
    });
    this.#erase = h(
      "button",
      {
        type: "button",
        class: "quiet erase",
        testid: "backspace",
        "aria-label": t("backspace"),
        onpointerdown: () => this.#startErasing(),
        onclick: (/** @type {MouseEvent} */ event) => this.#eraseClicked(event),
      },
      icon("backspace"),
    );
    for (const end of ["pointerup", "pointerleave", "pointercancel"]) {
      this.#erase.addEventListener(end, () => clearTimeout(this.#repeat));
    }
    this.#error = h("p", {
      class: "problem",
      role: "alert",
      id: "dial-error",
      testid: "dial-error",
      hidden: true,
    });
    this.#keypad = document.createElement("spech-keypad");
    this.#keypad.onKey = (character) => {
      this.phone.tones.key(character);
      this.#insert(character);
    };
    this.#call = h(
      "button",
      { type: "submit", class: "round go", testid: "call", "aria-label": t("call") },
      icon("call"),
    );
    this.#from = this.#buildFrom();
    this.#suggestions = new Suggestions(this.phone, this.#input, (number) => this.#choose(number));
    this.append(
      h(
        "form",
        { class: "dial", onsubmit: (/** @type {SubmitEvent} */ event) => this.#submit(event) },
        h("h1", { class: "unseen" }, t("call")),
        h("div", { class: "dial-head" }, this.#from),
        h("div", { class: "number-row" }, this.#input, this.#erase),
        this.#suggestions.element,
        this.#error,
        this.#keypad,
        h("div", { class: "main-action" }, this.#call),
      ),
    );
    this.#keypad.phone = this.phone;
    document.addEventListener("keydown", (event) => this.#typedAnywhere(event));
    document.addEventListener("paste", (event) => this.#pastedAnywhere(event));
    new ResizeObserver(() => this.#fit()).observe(this.#input);
  }

  /** Which account the call goes by: a question only where there are several. */
  #buildFrom() {
    const select = h("select", {
      testid: "from",
      "aria-label": t("account.from"),
      title: t("account.from"),
      onchange: () => {
        this.phone.choose(select.value);
        this.arrive();
      },
    });
    return h("div", { class: "from", hidden: true }, h("span", { class: "dot" }), select, icon("down"));
  }

  #showFrom() {
    const { accounts, account } = this.phone;
    show(this.#from, accounts.length > 1);
    if (accounts.length < 2) return;
    const select = this.#from.querySelector("select");
    if (!select) return;
    const texts = accounts.map((each) => {
      const { state } = each.registration;
      const label = labelOf(each, accounts);
      return state === "registered" ? label : `${label} – ${t(`registration.${state}`)}`;
    });
    if (accounts.length !== select.length) select.replaceChildren(...accounts.map(() => h("option", null)));
    for (const [index, option] of [...select.options].entries()) {
      option.value = accounts[index].id;
      setText(option, texts[index]);
    }
    select.value = account.id;
    this.#from.dataset.state = account.registration.state;
  }

  update() {
    this.#showFrom();
    if (this.#input.value !== this.phone.number) this.#input.value = this.phone.number;
    const { error } = this.phone;
    show(this.#error, error !== null);
    setProblem(this.#input, error ? this.#error : null);
    if (error) setText(this.#error, inWords(error).join(" "));
    this.#call.disabled =
      !this.phone.control.connected || (!this.phone.number.trim() && !this.phone.lastNumber);
    this.#call.title =
      this.phone.number.trim() || !this.phone.lastNumber
        ? ""
        : t("redial", { number: this.phone.lastNumber });
    this.#fit();
  }

  /** Put the cursor into the field where that does not bring up a keyboard over the page. */
  arrive() {
    if (matchMedia("(pointer: fine)").matches) this.#input.focus({ preventScroll: true });
  }

  #fit() {
    const { style, value } = this.#input;
    style.setProperty("--fit", "1");
    const { paddingLeft, paddingRight } = getComputedStyle(this.#input);
    const padding = Number.parseFloat(paddingLeft) + Number.parseFloat(paddingRight);
    const { clientWidth, scrollWidth } = this.#input;
    if (scrollWidth > clientWidth)
      style.setProperty(
        "--fit",
        Math.max(SMALLEST, (clientWidth - padding) / (scrollWidth - padding)).toFixed(3),
      );
    this.#erase.classList.toggle("gone", value === "");
  }

  #edited() {
    this.phone.number = this.#input.value;
    this.phone.error = null;
    this.#suggestions.follow();
    this.update();
  }

  /** @param {string} number */
  #choose(number) {
    this.phone.number = number;
    this.update();
    this.#call.focus();
  }

  /** @param {string} text */
  #insert(text) {
    const { selectionStart, selectionEnd, value } = this.#input;
    const focused = document.activeElement === this.#input;
    const start = focused ? (selectionStart ?? value.length) : value.length;
    const end = focused ? (selectionEnd ?? value.length) : value.length;
    this.#input.setRangeText(text, start, end, "end");
    this.#edited();
    this.#input.scrollLeft = this.#input.scrollWidth;
  }

  #eraseOne() {
    this.#input.value = this.#input.value.slice(0, -1);
    this.#edited();
  }

  #startErasing() {
    const again = () => {
      this.#eraseOne();
      this.#repeat = setTimeout(again, REPEAT_MS);
    };
    clearTimeout(this.#repeat);
    this.#eraseOne();
    this.#repeat = setTimeout(again, REPEAT_AFTER_MS);
  }

  /** @param {MouseEvent} event */
  #eraseClicked(event) {
    // A pointer has erased on pointerdown already; `detail` is 0 when a keyboard or a screen reader clicks.
    if (event.detail === 0) this.#eraseOne();
    this.arrive();
  }

  /** @param {KeyboardEvent} event */
  #typed(event) {
    if (!event.ctrlKey && !event.metaKey && !event.altKey) this.#keypad.flash(event.key);
  }

  /** @param {ClipboardEvent} event */
  #paste(event) {
    event.preventDefault();
    this.#insert(tidy(event.clipboardData?.getData("text") ?? ""));
  }

  /**
   * Typing works wherever the focus is, as long as it is not in another field.
   *
   * @param {KeyboardEvent} event
   */
  #typedAnywhere(event) {
    if (this.phone.reading !== null) return;
    if (!this.isConnected || event.ctrlKey || event.metaKey || event.altKey || takesText(event.target))
      return;
    if (event.key === "Backspace") this.#eraseOne();
    else if (event.key === "Enter" && event.target === document.body) this.#dial();
    else if (event.key === "Escape" && this.phone.calls.some(live)) this.phone.show(null);
    else if (/^[0-9*#+]$/.test(event.key)) {
      this.#keypad.flash(event.key);
      this.#insert(event.key);
    } else return;
    event.preventDefault();
  }

  /** @param {ClipboardEvent} event */
  #pastedAnywhere(event) {
    if (!this.isConnected || takesText(event.target)) return;
    this.#paste(event);
  }

  /** @param {SubmitEvent} event */
  #submit(event) {
    event.preventDefault();
    this.#dial();
  }

  #dial() {
    if (this.#call.disabled) return;
    // As on any telephone: the call button with an empty field brings back the last number.
    if (!this.phone.number.trim()) {
      this.phone.number = this.phone.lastNumber;
      this.update();
      return;
    }
    this.phone.dial(this.phone.number);
  }
}

customElements.define("spech-dialer", Dialer);
