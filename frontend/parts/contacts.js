// @ts-check
/** The contacts: a list with search, the form for one of them, files, and an address book elsewhere. */

import { h, Part, setText, show } from "../dom.js";
import { inWords, t } from "../i18n.js";
import { icon } from "../icons.js";
import { AddressBook } from "./address-book.js";
import { ContactForm, labelText } from "./contact-form.js";
import { viewHead } from "./view-head.js";

/** @import { Contact, ImportOutcome } from "../messages.js" */

const PAUSE_MS = 150;

export class ContactsView extends Part {
  /** @type {HTMLHeadingElement} */
  heading;
  /** @type {HTMLInputElement} */
  search;
  /** @type {HTMLParagraphElement} */
  problem;
  /** @type {HTMLParagraphElement} */
  told;
  /** @type {HTMLParagraphElement} */
  nothing;
  /** @type {HTMLUListElement} */
  list;
  /** @type {HTMLButtonElement} */
  more;
  /** @type {HTMLInputElement} */
  file;
  /** @type {HTMLDivElement} */
  files;
  /** @type {ContactForm} */
  form;
  /** @type {AddressBook} */
  book;

  /** @type {Contact[] | null} */
  #shown = null;
  #pause = 0;

  build() {
    this.className = "contacts";
    this.heading = h("h1", { tabindex: -1 }, t("contacts"));
    this.form = new ContactForm(this.phone);
    this.book = new AddressBook(this.phone, (outcome) => this.#tell(outcome));
    this.search = h("input", {
      type: "search",
      testid: "contacts-search",
      autocomplete: "off",
      spellcheck: "false",
      "aria-label": t("contacts.search"),
      placeholder: t("contacts.search"),
      oninput: () => this.#find(PAUSE_MS),
    });
    this.problem = h("p", { class: "problem", role: "alert", testid: "contacts-problem", hidden: true });
    this.told = h("p", { class: "told", role: "status", testid: "contacts-told", hidden: true });
    this.nothing = h("p", { class: "nothing", role: "status", testid: "contacts-nothing" });
    this.list = h("ul", { class: "past", testid: "contacts-list" });
    this.more = h(
      "button",
      {
        type: "button",
        class: "pill",
        testid: "contacts-more",
        onclick: () => this.phone.contacts.further(),
      },
      t("contacts.more"),
    );
    this.file = h("input", {
      type: "file",
      accept: ".vcf,.csv,text/vcard,text/csv",
      testid: "contacts-file",
      hidden: true,
      onchange: () => this.#import(),
    });
    this.files = h(
      "div",
      { class: "history-foot" },
      h(
        "button",
        { type: "button", class: "pill small", testid: "contacts-import", onclick: () => this.file.click() },
        t("contacts.import"),
      ),
      this.file,
      this.#download("vcf", "vCard"),
      this.#download("csv", "CSV"),
    );
    this.append(
      viewHead(
        "contacts-close",
        () => this.phone.show(null),
        this.heading,
        h(
          "button",
          {
            type: "button",
            class: "quiet small add",
            testid: "contact-add",
            title: t("contact.new"),
            onclick: () => this.form.open(null),
          },
          icon("plus"),
          h("span", null, t("contact.new")),
        ),
      ),
      h("div", { class: "history-tools", role: "search" }, h("div", { class: "input" }, this.search)),
      this.problem,
      this.told,
      this.list,
      this.nothing,
      h("div", { class: "history-more" }, this.more),
      this.files,
      this.book.element,
      this.form.element,
    );
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.isConnected && !document.querySelector("dialog[open]"))
        this.phone.show(null);
    });
  }

  /**
   * @param {"vcf" | "csv"} ending
   * @param {string} name
   */
  #download(ending, name) {
    return h(
      "a",
      { class: "quiet", href: `contacts.${ending}`, download: "", testid: `contacts-${ending}` },
      icon("save"),
      name,
    );
  }

  connectedCallback() {
    super.connectedCallback();
    this.search.value = "";
    show(this.told, false);
    this.#find(0);
    const { newContact } = this.phone;
    this.phone.newContact = null;
    if (newContact) this.form.open(null, newContact);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    clearTimeout(this.#pause);
    this.phone.contacts.close();
  }

  arrive() {
    this.heading.focus({ preventScroll: true });
  }

  /** @param {number} after ms, because more may be typed */
  #find(after) {
    clearTimeout(this.#pause);
    this.#pause = setTimeout(() => this.phone.contacts.find(this.search.value.trim()), after);
  }

  async #import() {
    const [file] = this.file.files ?? [];
    this.file.value = "";
    if (!file) return;
    show(this.told, false);
    show(this.problem, false);
    try {
      this.#tell(await this.phone.contacts.import(file));
    } catch (error) {
      setText(this.problem, inWords(error).join(" ").trim());
      show(this.problem, true);
    }
  }

  /** @param {ImportOutcome} outcome */
  #tell({ added, changed }) {
    setText(this.told, t("contacts.imported", { added, changed }));
    show(this.told, true);
  }

  update() {
    const { contacts } = this.phone;
    if (contacts.problem) setText(this.problem, inWords(contacts.problem).join(" ").trim());
    show(
      this.problem,
      contacts.problem !== null || (!this.problem.hidden && this.problem.textContent !== ""),
    );
    const asks = this.search.value.trim() !== "";
    setText(this.nothing, contacts.entries.length ? "" : t(asks ? "contacts.nothing" : "contacts.empty"));
    show(this.more, contacts.more);
    this.book.update();
    if (contacts.entries === this.#shown) return;
    this.#shown = contacts.entries;
    this.list.replaceChildren(...contacts.entries.map((contact) => this.#row(contact)));
  }

  /** @param {Contact} contact */
  #row(contact) {
    const [first] = contact.numbers;
    const numbers = contact.numbers.map(({ label, number }) =>
      [labelText(label), number].filter(Boolean).join(" "),
    );
    return h(
      "li",
      { class: "contact" },
      h(
        "button",
        {
          type: "button",
          class: "recent-row",
          testid: "contact",
          onclick: () => this.form.open(contact),
        },
        h(
          "span",
          { class: "past-text" },
          h("span", { class: "recent-who" }, contact.name),
          h("span", { class: "past-kind" }, numbers.join(" · ")),
        ),
        contact.shared ? h("span", { class: "recent-kind" }, t("contact.shared")) : null,
      ),
      h(
        "button",
        {
          type: "button",
          class: "quiet star",
          testid: "contact-star",
          "aria-pressed": String(contact.favourite),
          "aria-label": t("contact.favourite", { who: contact.name }),
          title: t("contact.favourite", { who: contact.name }),
          onclick: () => this.phone.contacts.toggleFavourite(contact),
        },
        icon(contact.favourite ? "starred" : "star"),
      ),
      first
        ? h(
            "button",
            {
              type: "button",
              class: "quiet redial",
              testid: "contact-call",
              "aria-label": t("history.call", { who: contact.name }),
              title: t("history.call", { who: first.number }),
              onclick: () => this.phone.dial(first.number),
            },
            icon("call"),
          )
        : null,
    );
  }
}

customElements.define("spech-contacts", ContactsView);
