// @ts-check
/** The form for one contact, in a sheet. Those of an address book elsewhere are shown, and changed there. */

import { h, setText, show } from "../dom.js";
import { inWords, t } from "../i18n.js";
import { icon } from "../icons.js";

/** @import { Contact, LabelledNumber } from "../messages.js" */
/** @import { Phone } from "../phone.js" */

const LABELS = ["mobile", "work", "home", "fax"];
const MOST_NUMBERS = 20;

/**
 * A label in words: ours translated, another one as it is.
 *
 * @param {string} label
 */
export const labelText = (label) => (LABELS.includes(label) ? t(`label.${label}`) : label);

export class ContactForm {
  #phone;
  /** @type {Contact | null} */
  #contact = null;
  #sure = false;
  #heading = h("h1", { id: "contact-title" });
  #name = h("input", { id: "contact-name", testid: "contact-name", maxlength: 128, autocomplete: "off" });
  #note = h("textarea", { id: "contact-note", testid: "contact-note", maxlength: 2000, rows: 3 });
  #numbers = h("div", { class: "contact-numbers" });
  #add = h(
    "button",
    {
      type: "button",
      class: "quiet small",
      testid: "contact-number-add",
      onclick: () => this.#addNumber().focus(),
    },
    icon("plus"),
    t("contact.number.add"),
  );
  #favourite = h("input", { type: "checkbox", testid: "contact-favourite" });
  #problem = h("p", { class: "problem", role: "alert", id: "contact-problem", hidden: true });
  #where = h("p", { class: "help", testid: "contact-where" }, t("contact.shared.why"));
  #fields = h("fieldset", { class: "fields" });
  #forget = h(
    "button",
    { type: "button", class: "quiet danger", testid: "contact-forget", onclick: () => this.#remove() },
    t("contact.forget"),
  );
  element = h(
    "dialog",
    { class: "sheet", testid: "contact-sheet", "aria-labelledby": "contact-title" },
    h(
      "header",
      { class: "sheet-head" },
      this.#heading,
      h(
        "button",
        {
          type: "button",
          class: "quiet",
          testid: "contact-close",
          "aria-label": t("close"),
          onclick: () => this.element.close(),
        },
        icon("close"),
      ),
    ),
  );

  /** @param {Phone} phone */
  constructor(phone) {
    this.#phone = phone;
    this.#fields.append(
      h(
        "div",
        { class: "field" },
        h("label", { for: "contact-name" }, t("contact.name")),
        h("div", { class: "input" }, this.#name),
      ),
      h(
        "div",
        { class: "field" },
        h("span", { class: "field-label" }, t("contact.numbers")),
        this.#numbers,
        this.#add,
      ),
      h(
        "div",
        { class: "field" },
        h("label", { for: "contact-note" }, t("contact.note")),
        h("div", { class: "input" }, this.#note),
      ),
    );
    this.element.append(
      h(
        "form",
        {
          class: "sheet-body contact-form",
          novalidate: true,
          onsubmit: (/** @type {SubmitEvent} */ event) => this.#submit(event),
        },
        this.#where,
        this.#fields,
        h("label", { class: "switch" }, this.#favourite, t("contact.favourite.short")),
        this.#problem,
        h(
          "div",
          { class: "contact-actions" },
          h("button", { type: "submit", class: "pill primary", testid: "contact-save" }, t("settings.save")),
          this.#forget,
        ),
      ),
    );
    this.element.addEventListener("click", (event) => {
      if (event.target === this.element) this.element.close();
    });
  }

  /**
   * Show a contact, or an empty form for a new one.
   *
   * @param {Contact | null} contact
   * @param {{name: string, number: string}} [known] of a new one
   */
  open(contact, known = { name: "", number: "" }) {
    this.#contact = contact;
    this.#sure = false;
    setText(this.#heading, contact ? contact.name : t("contact.new"));
    this.#name.value = contact?.name ?? known.name;
    this.#note.value = contact?.note ?? "";
    this.#favourite.checked = contact?.favourite ?? false;
    this.#numbers.replaceChildren();
    const numbers = contact?.numbers ?? [];
    for (const each of numbers.length ? numbers : [{ label: "", number: known.number }])
      this.#addNumber(each);
    this.#fields.disabled = contact?.shared === true;
    show(this.#where, contact?.shared === true);
    show(this.#forget, contact !== null && !contact.shared);
    setText(this.#forget, t("contact.forget"));
    show(this.#problem, false);
    this.element.showModal();
    this.#name.focus();
  }

  /** @param {LabelledNumber} [known] */
  #addNumber({ label, number } = { label: "", number: "" }) {
    const input = h("input", {
      testid: "contact-number",
      value: number,
      inputmode: "tel",
      autocomplete: "off",
      spellcheck: "false",
      maxlength: 256,
      "aria-label": t("contact.number"),
    });
    const labels = [...new Set([...LABELS, label])].filter(Boolean);
    const choice = h(
      "select",
      { testid: "contact-label", "aria-label": t("contact.label") },
      h("option", { value: "" }, t("label.none")),
      ...labels.map((each) => h("option", { value: each, selected: each === label }, labelText(each))),
    );
    const row = h(
      "div",
      { class: "contact-number" },
      h("div", { class: "input select" }, choice, icon("down")),
      h("div", { class: "input" }, input),
      h(
        "button",
        {
          type: "button",
          class: "quiet",
          "aria-label": t("contact.number.remove"),
          title: t("contact.number.remove"),
          onclick: () => {
            row.remove();
            this.#add.hidden = false;
            this.#add.focus();
          },
        },
        icon("close"),
      ),
    );
    this.#numbers.append(row);
    show(this.#add, this.#numbers.childElementCount < MOST_NUMBERS);
    return input;
  }

  get #entered() {
    return [...this.#numbers.children].flatMap((row) => {
      const number = row.querySelector("input")?.value.trim() ?? "";
      return number ? [{ label: row.querySelector("select")?.value ?? "", number }] : [];
    });
  }

  /** @param {SubmitEvent} event */
  #submit(event) {
    event.preventDefault();
    const name = this.#name.value.trim();
    if (!name) {
      this.#complain(t("contact.need.name"));
      this.#name.focus();
      return;
    }
    const shared = this.#contact?.shared === true;
    this.#try(() =>
      this.#phone.contacts.save({
        id: this.#contact?.id ?? "",
        name,
        numbers: this.#entered,
        favourite: this.#favourite.checked,
        note: this.#note.value.trim(),
        shared,
      }),
    );
  }

  /** Two clicks, so that nothing is lost by one. */
  #remove() {
    const id = this.#contact?.id;
    if (id && this.#sure) this.#try(() => this.#phone.contacts.forget(id));
    this.#sure = true;
    setText(this.#forget, t("contact.forget.sure"));
  }

  /** @param {string} text */
  #complain(text) {
    setText(this.#problem, text);
    show(this.#problem, true);
  }

  /** @param {() => Promise<unknown>} work */
  async #try(work) {
    try {
      await work();
      this.element.close();
    } catch (error) {
      this.#complain(inWords(error).join(" ").trim());
    }
  }
}
