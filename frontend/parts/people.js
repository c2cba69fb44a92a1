// @ts-check
/** The people who share the server, for the administrator: add, give a new password, remove. */

import { h, setText, show } from "../dom.js";
import { inWords, t } from "../i18n.js";

/** @import { Phone } from "../phone.js" */

export class People {
  #phone;
  #list = h("ul", { class: "people-list", testid: "people-list" });
  #name = h("input", {
    id: "person",
    testid: "person",
    autocomplete: "off",
    autocapitalize: "off",
    spellcheck: "false",
    maxlength: 64,
  });
  #problem = h("p", { class: "problem", role: "alert", testid: "people-problem", hidden: true });
  #told = h("p", { class: "told", role: "status", testid: "people-password", hidden: true });
  element = h(
    "section",
    { class: "people", testid: "people", "aria-labelledby": "people-heading", hidden: true },
    h("h2", { id: "people-heading" }, t("people")),
    h("p", { class: "help" }, t("people.help")),
    this.#list,
    h(
      "form",
      { novalidate: true, onsubmit: (/** @type {SubmitEvent} */ event) => this.#add(event) },
      h("label", { for: "person", class: "unseen" }, t("people.name")),
      h("div", { class: "input" }, this.#name),
      h("button", { type: "submit", class: "pill", testid: "person-add" }, t("people.add")),
    ),
    this.#problem,
    this.#told,
  );

  /** @param {Phone} phone */
  constructor(phone) {
    this.#phone = phone;
    this.#name.placeholder = t("people.name");
  }

  /** Called when the settings open. */
  async arrive() {
    show(this.element, this.#phone.state?.person.administrator === true);
    this.#tell("", "");
    if (!this.element.hidden) await this.#try(async () => this.#fill());
  }

  async #fill() {
    const { people } = await this.#phone.control.command("people", {});
    this.#list.replaceChildren(...people.map((name) => this.#row(name)));
  }

  /** @param {string} name */
  #row(name) {
    const remove = h("button", { type: "button", class: "quiet danger", testid: `remove-${name}` });
    setText(remove, t("people.remove"));
    let sure = false;
    // Two clicks, so that nobody is lost by one.
    remove.addEventListener("click", () => {
      if (sure) this.#try(() => this.#remove(name));
      sure = true;
      setText(remove, t("people.remove.sure"));
    });
    const reset = h(
      "button",
      {
        type: "button",
        class: "quiet",
        testid: `reset-${name}`,
        onclick: () => this.#try(() => this.#reset(name)),
      },
      t("people.reset"),
    );
    return h("li", null, h("span", { class: "person-name" }, name), reset, remove);
  }

  /** @param {SubmitEvent} event */
  #add(event) {
    event.preventDefault();
    this.#try(async () => {
      const name = this.#name.value.trim();
      const { password } = await this.#phone.control.command("add_person", { name });
      this.#name.value = "";
      this.#tell(name, password);
      await this.#fill();
    });
  }

  /** @param {string} name */
  async #reset(name) {
    const { password } = await this.#phone.control.command("reset_person", { name });
    this.#tell(name, password);
  }

  /** @param {string} name */
  async #remove(name) {
    await this.#phone.control.command("remove_person", { name });
    await this.#fill();
  }

  /**
   * Show a new password, which the server does not tell again.
   *
   * @param {string} name
   * @param {string} password
   */
  #tell(name, password) {
    show(this.#told, password !== "");
    this.#told.replaceChildren(t("people.password", { name }), " ", h("code", null, password));
  }

  /** @param {() => Promise<void>} work */
  async #try(work) {
    show(this.#problem, false);
    this.#tell("", "");
    try {
      await work();
    } catch (error) {
      setText(this.#problem, inWords(error).join(" ").trim());
      show(this.#problem, true);
    }
  }
}
