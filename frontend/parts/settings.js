// @ts-check
/** The SIP accounts, one at a time. Saving is a trial: the server stores nothing that did not register. */

import { h, Part, setText, show } from "../dom.js";
import { inWords, t } from "../i18n.js";
import { icon } from "../icons.js";
import { live } from "../calls.js";
import { AccountForm, Mistake } from "./account-form.js";
import { Accounts } from "./accounts.js";
import { CallRules } from "./call-settings.js";
import { Check } from "./check.js";
import { countryChoice, languageChoice } from "./habits.js";
import { links } from "./links.js";
import { People } from "./people.js";
import { session } from "./session.js";
import { Steps, told } from "./steps.js";
import { viewHead } from "./view-head.js";

/** @import { Commands, Step } from "../messages.js" */
/** @import { FieldName } from "./account-form.js" */

const MOST_ACCOUNTS = 8;
const SUCCESS_MS = 1100;
// Which fields an error is about: the first one gets the focus.
/** @type {Record<string, FieldName[]>} */
const CULPRITS = {
  wrong_password: ["password", "user"],
  unknown_host: ["server"],
  server_silent: ["server", "port"],
  untrusted: ["server", "port"],
  refused: ["user", "server"],
};

export class Settings extends Part {
  /** @type {HTMLButtonElement} */
  add;
  /** @type {HTMLButtonElement} */
  save;
  /** @type {HTMLButtonElement} */
  forget;
  /** @type {HTMLDivElement} */
  error;
  /** @type {HTMLParagraphElement} */
  progress;
  /** @type {HTMLParagraphElement} */
  vault;
  /** @type {HTMLParagraphElement} */
  version;
  /** @type {HTMLParagraphElement} */
  wait;

  /** Id of the account that is shown, null for a new one. */
  /** @type {string | null} */
  #edited = null;
  #opened = false;
  #busy = false;
  #sure = false;
  #leaving = 0;

  /** @type {HTMLHeadingElement} */
  heading;
  /** @type {AccountForm} */
  form;
  /** The steps of the trial before an account is saved. */
  steps = new Steps();
  /** @type {Check} */
  check;
  /** @type {Accounts} */
  accounts;
  /** @type {CallRules} */
  rules;
  /** @type {People} */
  people;
  /** @type {HTMLElement} */
  session;

  build() {
    this.className = "settings";
    this.heading = h("h1", { tabindex: -1 }, t("settings"));
    this.rules = new CallRules(this.phone);
    this.people = new People(this.phone);
    this.session = h("div");
    this.accounts = new Accounts((/** @type {string | null} */ id) => this.#turnTo(id));
    this.add = h(
      "button",
      {
        type: "button",
        class: "quiet small add",
        testid: "account-add",
        title: t("account.new"),
        onclick: () => this.#turnTo(null),
      },
      icon("plus"),
      h("span", null, t("account.new")),
    );
    this.error = h(
      "div",
      { class: "problem", role: "alert", id: "settings-error", testid: "settings-error", hidden: true },
      h("strong", null),
      h("span", null),
    );
    this.form = new AccountForm(this.error);
    this.check = new Check(this.phone);
    this.progress = h(
      "p",
      {
        class: "progress",
        role: "status",
        testid: "settings-progress",
        "data-kind": "done",
        hidden: true,
      },
      h("span", { class: "spinner", "aria-hidden": "true" }),
      h("span", null),
    );
    this.save = h(
      "button",
      { type: "submit", class: "pill primary large", testid: "settings-save" },
      t("settings.save"),
    );
    this.forget = h(
      "button",
      { type: "button", class: "quiet danger", testid: "settings-forget", onclick: () => this.#forget() },
      t("settings.forget"),
    );
    this.vault = h("p", { class: "problem", role: "alert", testid: "vault-error", hidden: true });
    this.version = h("p", { class: "version" });
    this.wait = h(
      "p",
      { class: "progress", role: "status", testid: "settings-wait", hidden: true },
      t("settings.wait"),
    );
    this.append(
      viewHead("settings-close", () => this.phone.show(null), this.heading, this.add),
      this.vault,
      h("h2", null, t("account")),
      this.accounts.element,
      h(
        "form",
        {
          class: "account-form",
          novalidate: true,
          onsubmit: (/** @type {SubmitEvent} */ event) => this.#submit(event),
        },
        ...this.form.elements,
        h("div", { class: "outcome" }, this.steps.element, this.error, this.progress, this.wait),
        h("div", { class: "actions main-action" }, this.save),
      ),
      this.check.element,
      h("div", { class: "parting" }, this.forget),
      this.rules.element,
      links(),
      this.people.element,
      h(
        "div",
        { class: "foot" },
        h("div", { class: "habits" }, languageChoice(), countryChoice(this.phone.tones)),
        this.version,
      ),
      this.session,
    );
    for (const each of ["input", "change", "click", "pointerup"])
      this.addEventListener(each, () => this.#look());
    this.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !this.#busy) this.phone.show(null);
    });
  }

  /** Called when the view opens: with the account that is in trouble, or else the one that calls go by. */
  arrive() {
    this.people.arrive();
    if (this.phone.state) this.session.replaceChildren(session(this.phone.state.person));
    const { accounts, account } = this.phone;
    const troubled = accounts.find(({ registration }) => registration.state === "failed");
    this.#turnTo((troubled ?? account)?.id ?? null);
  }

  /**
   * Show what is stored of that account, an empty form for null; later snapshots do not overwrite edits.
   *
   * @param {string | null} id
   */
  #turnTo(id) {
    if (this.#leaving) this.#rest();
    if (this.#busy) return;
    this.#edited = id;
    this.#opened = false;
    this.update();
    if (id === null) this.form.focus();
    else this.heading.focus({ preventScroll: true });
  }

  /** The button to save stays in sight as long as there is something to save. */
  #look() {
    this.classList.toggle("changed", this.form.changed || this.#busy);
  }

  /** What is stored of the account that is shown, or null. */
  get #stored() {
    return this.phone.accounts.find(({ id }) => id === this.#edited) ?? null;
  }

  update() {
    const { state } = this.phone;
    if (!state) return;
    if (this.#edited !== null && !this.#stored && !this.#busy) {
      // It was removed, here or in another window.
      this.#edited = this.phone.account?.id ?? null;
      this.#opened = false;
    }
    const { accounts } = state;
    this.accounts.update(accounts, this.#edited);
    show(this.form.name, !this.accounts.element.hidden);
    show(this.add, this.#edited !== null && accounts.length < MOST_ACCOUNTS);
    show(this.vault, state.vault.state === "damaged");
    setText(this.vault, state.vault.message);
    show(this.forget, this.#edited !== null);
    this.rules.update();
    const talking = state.calls.some(
      (call) => live(call) && call.account === this.#edited && !this.check.makes(call),
    );
    show(this.wait, talking && !this.#busy);
    this.save.disabled = this.#busy || talking;
    this.forget.disabled = this.#busy;
    this.add.disabled = this.#busy;
    setText(this.version, `Spech ${state.version}`);
    if (!this.#opened) {
      this.#opened = true;
      this.form.fill(this.#stored, state.codecs);
      this.steps.clear();
      this.check.turnTo(this.#edited);
      this.#fail(null);
      this.#show(null);
      this.#unsure();
    }
    this.#look();
  }

  /**
   * @param {string | null} message
   * @param {string} [hint]
   */
  #fail(message, hint = "") {
    show(this.error, message !== null);
    setText(this.error.children[0], message ?? "");
    setText(this.error.children[1], hint);
    if (message !== null) this.error.scrollIntoView({ block: "nearest" });
  }

  /**
   * @param {string | null} key
   * @param {Record<string, string>} [values]
   */
  #show(key, values) {
    show(this.progress, key !== null);
    if (key) setText(this.progress.children[1], t(key, values));
  }

  /** @param {boolean} busy */
  #work(busy) {
    this.#busy = busy;
    this.setAttribute("aria-busy", String(busy));
    for (const fields of this.querySelectorAll("fieldset")) fields.disabled = busy;
    this.refresh();
  }

  /** @param {SubmitEvent} event */
  async #submit(event) {
    event.preventDefault();
    this.#fail(null);
    this.form.mark([]);
    this.steps.clear();
    if (this.#busy) return;
    try {
      await this.#save(this.form.read(this.#stored));
    } catch (error) {
      if (!(error instanceof Mistake)) throw error;
      this.#fail(t(error.key));
      this.form.mark(error.field ? [error.field] : []);
    }
  }

  /** @param {Commands["save_account"]} settings */
  async #save(settings) {
    this.#work(true);
    const certificate = settings.transport === "tls" ? ["certificate"] : [];
    this.steps.begin(["name", "connection", ...certificate, "registration", "options"]);
    /** @type {Step | null} */
    let failed = null;
    try {
      const { account } = await this.phone.saveAccount(settings, (step) => {
        if (!step.passed) failed = step;
        this.steps.add(step);
      });
      this.#edited = account;
      this.#show("settings.saved", { user: settings.user });
      // What is not as it should be stays in sight.
      if (!failed) this.#leaving = setTimeout(() => this.#leave(), SUCCESS_MS);
      else this.#work(false);
    } catch (error) {
      this.#work(false);
      this.#show(null);
      this.#fail(...(failed ? told(failed) : inWords(error)));
      this.form.mark(CULPRITS[error.code] ?? []);
    } finally {
      this.steps.end();
    }
  }

  #leave() {
    this.#rest();
    if (this.isConnected) this.phone.show(null);
  }

  /** Saving is over: cancel the timer that closes the settings. */
  #rest() {
    clearTimeout(this.#leaving);
    this.#leaving = 0;
    this.#work(false);
    this.#show(null);
  }

  #unsure() {
    this.#sure = false;
    setText(this.forget, t("settings.forget"));
  }

  /** Two clicks, so that an account is not lost by one. */
  async #forget() {
    if (!this.#sure) {
      this.#sure = true;
      const ends = this.phone.calls.some((call) => live(call) && call.account === this.#edited);
      setText(this.forget, t(ends ? "settings.forget.calls" : "settings.forget.sure"));
      return;
    }
    this.#unsure();
    try {
      if (this.#edited !== null) await this.phone.forgetAccount(this.#edited);
    } catch (error) {
      this.#fail(...inWords(error));
    }
  }
}

customElements.define("spech-settings", Settings);
