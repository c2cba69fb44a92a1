// @ts-check
/** The address book on another server (CardDAV): where it is, and when it was read. */

import { h, setText, show } from "../dom.js";
import { currentLanguage, inWords, t, translated } from "../i18n.js";
import { icon } from "../icons.js";

/** @import { ImportOutcome } from "../messages.js" */
/** @import { Phone } from "../phone.js" */

export class AddressBook {
  #phone;
  #done;
  #busy = false;
  #url = this.#input("url", { type: "url", placeholder: "https://cloud.example.com", inputmode: "url" });
  #user = this.#input("user", { type: "text" });
  #password = this.#input("password", { type: "password", autocomplete: "new-password" });
  #problem = h("p", { class: "problem", role: "alert", testid: "book-problem", hidden: true });
  #read = h("p", { class: "help", testid: "book-read" });
  #save = h("button", { type: "submit", class: "pill small", testid: "book-save" }, t("book.save"));
  #forget = h(
    "button",
    { type: "button", class: "quiet danger", testid: "book-forget", onclick: () => this.#remove() },
    t("book.forget"),
  );
  element = h("details", { class: "book", testid: "book" });

  /**
   * @param {Phone} phone
   * @param {(outcome: ImportOutcome) => void} done is told what has come
   */
  constructor(phone, done) {
    this.#phone = phone;
    this.#done = done;
    const field = (/** @type {string} */ name, /** @type {HTMLInputElement} */ input) =>
      h(
        "div",
        { class: "field" },
        h("label", { for: `book-${name}` }, t(`book.${name}`)),
        h("div", { class: "input" }, input),
      );
    this.element.append(
      h("summary", null, t("book"), icon("down")),
      h("p", { class: "help" }, t("book.help")),
      h(
        "form",
        {
          class: "fields",
          novalidate: true,
          onsubmit: (/** @type {SubmitEvent} */ event) => this.#submit(event),
        },
        field("url", this.#url),
        field("user", this.#user),
        field("password", this.#password),
        this.#problem,
        this.#read,
        h("div", { class: "contact-actions" }, this.#save, this.#forget),
      ),
    );
    this.element.addEventListener("toggle", () => this.#fill());
  }

  /**
   * @param {string} name
   * @param {Record<string, unknown>} attributes
   */
  #input(name, attributes) {
    return h("input", {
      id: `book-${name}`,
      testid: `book-${name}`,
      autocomplete: "off",
      autocapitalize: "off",
      spellcheck: "false",
      ...attributes,
    });
  }

  get #book() {
    return this.#phone.contacts.state?.book ?? null;
  }

  #fill() {
    const book = this.#book;
    this.#url.value = book?.url ?? "";
    this.#user.value = book?.user ?? "";
    this.#password.value = "";
    this.#password.placeholder = book ? t("settings.password.kept") : "";
    show(this.#problem, false);
    this.update();
  }

  update() {
    const book = this.#book;
    show(this.#forget, book !== null);
    show(this.#read, book !== null || this.#busy);
    this.#save.disabled = this.#busy;
    setText(this.#save, t(book ? "book.again" : "book.save"));
    if (this.#busy) setText(this.#read, t("book.reading"));
    else if (book?.problem) setText(this.#read, translated(book.problem, "error.bad_address_book"));
    else if (book?.read) {
      const when = new Date(book.read * 1000).toLocaleString(currentLanguage(), {
        dateStyle: "medium",
        timeStyle: "short",
      });
      setText(this.#read, t("book.read", { when }));
    }
  }

  /** @param {SubmitEvent} event */
  #submit(event) {
    event.preventDefault();
    const url = this.#url.value.trim();
    const user = this.#user.value.trim();
    const password = this.#password.value || null;
    this.#try(async () => {
      this.#done(await this.#phone.contacts.subscribe({ url, user, password }));
      this.#fill();
    });
  }

  #remove() {
    this.#try(async () => {
      await this.#phone.contacts.unsubscribe();
      this.#fill();
    });
  }

  /** @param {() => Promise<void>} work */
  async #try(work) {
    if (this.#busy) return;
    this.#busy = true;
    show(this.#problem, false);
    this.update();
    try {
      await work();
    } catch (error) {
      setText(this.#problem, inWords(error).join(" ").trim());
      show(this.#problem, true);
    } finally {
      this.#busy = false;
      this.update();
    }
  }
}
