// @ts-check
/** Contacts that fit what is in the number field, as a list beside it (a combobox of ARIA). */

import { h } from "../dom.js";
import { t } from "../i18n.js";
import { labelText } from "./contact-form.js";

/** @import { Contact } from "../messages.js" */
/** @import { Phone } from "../phone.js" */

const PAUSE_MS = 120;
const MOST = 5;
const digitsOf = (/** @type {string} */ text) => text.replace(/[\s()./-]/g, "").toLowerCase();

export class Suggestions {
  #phone;
  #input;
  #take;
  #pause = 0;
  /** Counts the questions: only the answer to the latest one is shown. */
  #asked = 0;
  #chosen = -1;
  element = h("ul", {
    class: "suggestions",
    id: "suggestions",
    role: "listbox",
    testid: "suggestions",
    "aria-label": t("contacts"),
    hidden: true,
  });

  /**
   * @param {Phone} phone
   * @param {HTMLInputElement} input
   * @param {(number: string) => void} take is given the number that was chosen
   */
  constructor(phone, input, take) {
    this.#phone = phone;
    this.#input = input;
    this.#take = take;
    for (const [name, value] of Object.entries({
      role: "combobox",
      "aria-autocomplete": "list",
      "aria-controls": "suggestions",
      "aria-expanded": "false",
    }))
      input.setAttribute(name, value);
    input.addEventListener("keydown", (event) => this.#typed(event));
    input.addEventListener("blur", () => this.close());
  }

  /** Ask for contacts that fit what is in the field. */
  follow() {
    clearTimeout(this.#pause);
    const text = this.#input.value.trim();
    if (!this.#phone.contacts.state?.count || text.length < 2) {
      this.close();
      return;
    }
    this.#pause = setTimeout(() => this.#ask(text), PAUSE_MS);
  }

  close() {
    clearTimeout(this.#pause);
    this.#asked += 1;
    this.element.hidden = true;
    this.#input.setAttribute("aria-expanded", "false");
    this.#choose(-1);
  }

  /** @param {string} text */
  async #ask(text) {
    this.#asked += 1;
    const asked = this.#asked;
    try {
      const contacts = await this.#phone.contacts.suggest(text);
      if (asked === this.#asked) this.#show(text, contacts);
    } catch {
      this.close(); // The server is away.
    }
  }

  /**
   * @param {string} text
   * @param {Contact[]} contacts
   */
  #show(text, contacts) {
    const digits = digitsOf(text);
    const options = contacts.flatMap(({ name, numbers }) => {
      const fitting = numbers.filter(({ number }) => digitsOf(number).includes(digits));
      return (fitting.length ? fitting : numbers).map((each) => ({ name, ...each }));
    });
    const wanted = options.filter(({ number }) => digitsOf(number) !== digits).slice(0, MOST);
    if (!wanted.length || document.activeElement !== this.#input) {
      this.close();
      return;
    }
    this.element.replaceChildren(
      ...wanted.map(({ name, label, number }, index) =>
        h(
          "li",
          {
            id: `suggestion-${index}`,
            role: "option",
            testid: "suggestion",
            "aria-selected": "false",
            "data-number": number,
            // Before the field loses the focus.
            onpointerdown: (/** @type {Event} */ event) => {
              event.preventDefault();
              this.#accept(number);
            },
          },
          h("span", { class: "recent-who" }, name),
          h("span", { class: "past-kind" }, [labelText(label), number].filter(Boolean).join(" · ")),
        ),
      ),
    );
    this.element.hidden = false;
    this.#input.setAttribute("aria-expanded", "true");
    this.#choose(-1);
  }

  /** @param {number} index */
  #choose(index) {
    this.#chosen = index;
    for (const [at, option] of [...this.element.children].entries())
      option.setAttribute("aria-selected", String(at === index));
    if (index < 0) this.#input.removeAttribute("aria-activedescendant");
    else this.#input.setAttribute("aria-activedescendant", `suggestion-${index}`);
  }

  /** @param {string} number */
  #accept(number) {
    this.close();
    this.#take(number);
  }

  /** @param {KeyboardEvent} event */
  #typed(event) {
    if (this.element.hidden) return;
    const count = this.element.childElementCount;
    if (event.key === "ArrowDown") this.#choose((this.#chosen + 1) % count);
    else if (event.key === "ArrowUp") this.#choose(this.#chosen > 0 ? this.#chosen - 1 : count - 1);
    else if (event.key === "Escape") this.close();
    else if (event.key === "Enter" && this.#chosen >= 0) {
      const option = this.element.children[this.#chosen];
      if (option instanceof HTMLElement) this.#accept(option.dataset.number ?? "");
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
