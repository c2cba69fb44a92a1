// @ts-check
/** The contacts on the server: what the view lists, and what is done with them. */

/** @import { Contact, ContactsState, ImportOutcome } from "./messages.js" */
/** @import { Control } from "./control.js" */

import { Listing } from "./listing.js";

const SUGGESTED = 5;
/** Characters of a file that one command carries; its JSON has at most 64 KiB. */
const PART = 10_000;
const LARGEST_FILE = 8_000_000;

/** @extends {Listing<Contact, string>} */
export class ContactList extends Listing {
  /** @type {ContactsState | null} */
  state = null;

  #control;

  /**
   * @param {Control} control
   * @param {() => void} changed called when something of it has changed
   */
  constructor(control, changed) {
    super(
      "",
      async (search, last, limit) => {
        const found = await control.command("contacts", { search, after: last?.id ?? null, limit });
        return { entries: found.contacts, more: found.more };
      },
      changed,
    );
    this.#control = control;
  }

  /**
   * Take what a snapshot says, and list again what has changed.
   *
   * @param {ContactsState} state
   */
  follow(state) {
    this.state = state;
    this.refresh(state.revision);
  }

  /**
   * A few contacts for what is in the number field.
   *
   * @param {string} search
   */
  async suggest(search) {
    return (await this.#control.command("contacts", { search, limit: SUGGESTED })).contacts;
  }

  /** @param {Contact} contact */
  save(contact) {
    return this.#control.command("save_contact", { contact });
  }

  /** @param {string} contact */
  forget(contact) {
    return this.#control.command("forget_contact", { contact });
  }

  /** @param {Contact} contact */
  toggleFavourite(contact) {
    return this.try(() => this.save({ ...contact, favourite: !contact.favourite }));
  }

  /**
   * Add the contacts of a vCard or CSV file.
   *
   * @param {File} file
   * @returns {Promise<ImportOutcome>}
   */
  async import(file) {
    if (file.size > LARGEST_FILE) throw { code: "bad_file", message: "The file is too large.", hint: "" };
    const text = await file.text();
    for (let at = 0; ; ) {
      // A character of two code units stays whole.
      const end = at + PART + Number(/[\ud800-\udbff]/.test(text[at + PART - 1] ?? ""));
      const more = end < text.length;
      const outcome = await this.#control.command("import_contacts", { text: text.slice(at, end), more });
      if (!more) return outcome;
      at = end;
    }
  }

  /**
   * Read an address book on another server, now and from now on.
   *
   * @param {{url: string, user: string, password: string | null}} book
   */
  subscribe(book) {
    return this.#control.command("save_address_book", book);
  }

  readBook() {
    return this.#control.command("read_address_book", {});
  }

  unsubscribe() {
    return this.#control.command("forget_address_book", {});
  }
}
