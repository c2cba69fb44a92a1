// @ts-check
/** The SIP accounts, one at a time. Saving is a trial: the server stores nothing that did not register. */

import { h, Part, setProblem, setText, show } from "../dom.js";
import { inWords, t } from "../i18n.js";
import { icon } from "../icons.js";
import { live } from "../calls.js";
import { Accounts } from "./accounts.js";
import { Codecs } from "./codecs.js";
import { countryChoice, languageChoice } from "./habits.js";
import { People } from "./people.js";
import { session } from "./session.js";

/** @import { AccountState, CodecState } from "../messages.js" */

/** @typedef {"name" | "server" | "port" | "transport" | "user" | "password" | "encryption"} FieldName */

const TRANSPORTS = ["udp", "tcp", "tls"];
// What an account that was made elsewhere asks for besides is kept and shown by its name.
const ENCRYPTION = ["off", "optional", "required"];
const MOST_ACCOUNTS = 8;
const SUCCESS_MS = 1100;
// Which fields an error is about: the first one gets the focus.
/** @type {Record<string, FieldName[]>} */
const CULPRITS = {
  wrong_password: ["password", "user"],
  unknown_host: ["server"],
  server_silent: ["server", "port"],
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

  /** @type {Record<FieldName, any>} Inputs and selections. */
  #fields = /** @type {any} */ ({});
  /** Id of the account that is shown, null for a new one. */
  /** @type {string | null} */
  #edited = null;
  #opened = false;
  #busy = false;
  #sure = false;
  #leaving = 0;

  /** @type {HTMLHeadingElement} */
  heading;
  /** @type {Codecs} */
  codecs;
  /** @type {Accounts} */
  accounts;
  /** @type {People} */
  people;
  /** @type {HTMLElement} */
  session;
  /** @type {HTMLElement} */
  name;

  build() {
    this.className = "settings";
    this.heading = h("h1", { tabindex: -1 }, t("settings"));
    this.codecs = new Codecs();
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
    this.name = this.#field("name", { placeholder: t("settings.name.example"), maxlength: 64 });
    this.error = h(
      "div",
      { class: "problem", role: "alert", id: "settings-error", testid: "settings-error", hidden: true },
      h("strong", null),
      h("span", null),
    );
    this.progress = h(
      "p",
      { class: "progress", role: "status", testid: "settings-progress", hidden: true },
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
      h(
        "div",
        { class: "view-head" },
        h(
          "button",
          {
            type: "button",
            class: "quiet",
            testid: "settings-close",
            "aria-label": t("back"),
            onclick: () => this.phone.show(null),
          },
          icon("back"),
        ),
        this.heading,
        this.add,
      ),
      this.vault,
      this.accounts.element,
      h(
        "form",
        { novalidate: true, onsubmit: (/** @type {SubmitEvent} */ event) => this.#submit(event) },
        h(
          "fieldset",
          { class: "fields" },
          this.name,
          h(
            "div",
            { class: "pair" },
            this.#field("server", { placeholder: "sip.example.com", inputmode: "url" }),
            this.#field("port", { placeholder: "5060", inputmode: "numeric", maxlength: 5 }),
          ),
          this.#choice(
            "transport",
            TRANSPORTS.map((name) => [name, name.toUpperCase()]),
          ),
          this.#field("user", { autocomplete: "off" }),
          this.#password(),
          this.#choice(
            "encryption",
            ENCRYPTION.map((name) => [name, t(`encryption.${name}`)]),
          ),
        ),
        h(
          "fieldset",
          { class: "fields preference" },
          h(
            "div",
            { class: "field" },
            h("span", { class: "field-label", id: "codecs-label" }, t("settings.codecs")),
            h("p", { class: "help" }, t("settings.codecs.help")),
            this.codecs.element,
          ),
        ),
        h("div", { class: "outcome" }, this.error, this.progress, this.wait),
        h("div", { class: "actions main-action" }, this.save),
      ),
      h(
        "div",
        { class: "foot" },
        h("div", { class: "habits" }, languageChoice(), countryChoice(this.phone.tones)),
        this.forget,
        this.version,
      ),
      this.people.element,
      this.session,
    );
    this.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !this.#busy) this.phone.show(null);
    });
  }

  /**
   * @param {FieldName} name
   * @param {Record<string, unknown>} attributes
   * @param {...HTMLElement} extra
   */
  #field(name, attributes, ...extra) {
    const input = h("input", {
      id: `set-${name}`,
      testid: `set-${name}`,
      type: "text",
      autocomplete: "off",
      autocapitalize: "off",
      spellcheck: "false",
      oninput: () => this.#mark([]),
      ...attributes,
    });
    this.#fields[name] = input;
    return h(
      "div",
      { class: `field field-${name}` },
      h("label", { for: `set-${name}` }, t(`settings.${name}`)),
      h("div", { class: "input" }, input, ...extra),
    );
  }

  /**
   * @param {FieldName} name
   * @param {string[][]} options
   */
  #choice(name, options) {
    const select = h(
      "select",
      { id: `set-${name}`, testid: `set-${name}` },
      ...options.map(([value, text]) => h("option", { value }, text)),
    );
    this.#fields[name] = select;
    return h(
      "div",
      { class: "field" },
      h("label", { for: `set-${name}` }, t(`settings.${name}`)),
      h("div", { class: "input select" }, select, icon("down")),
    );
  }

  #password() {
    const reveal = h(
      "button",
      {
        type: "button",
        class: "quiet reveal",
        "aria-label": t("settings.reveal"),
        "aria-pressed": "false",
        onclick: () => {
          const hidden = this.#fields.password.type === "password";
          this.#fields.password.type = hidden ? "text" : "password";
          reveal.setAttribute("aria-pressed", String(hidden));
        },
      },
      icon("eye"),
    );
    return this.#field("password", { type: "password", autocomplete: "new-password" }, reveal);
  }

  /** Called when the view opens: with the account that is in trouble, or else the one that calls go by. */
  arrive() {
    this.people.arrive();
    this.session.replaceChildren(session(this.phone.state?.person.name ?? ""));
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
    const first = this.name.hidden ? this.#fields.server : this.#fields.name;
    (id === null ? first : this.heading).focus({ preventScroll: true });
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
    show(this.name, !this.accounts.element.hidden);
    show(this.add, this.#edited !== null && accounts.length < MOST_ACCOUNTS);
    show(this.vault, state.vault.state === "damaged");
    setText(this.vault, state.vault.message);
    show(this.forget, this.#edited !== null);
    const talking = state.calls.some((call) => live(call) && call.account === this.#edited);
    show(this.wait, talking && !this.#busy);
    this.save.disabled = this.#busy || talking;
    this.forget.disabled = this.#busy;
    this.add.disabled = this.#busy;
    setText(this.version, `Spech ${state.version}`);
    if (!this.#opened) this.#fill(this.#stored, state.codecs);
  }

  /**
   * @param {AccountState | null} account
   * @param {CodecState[]} codecs
   */
  #fill(account, codecs) {
    this.#opened = true;
    this.#fields.name.value = account?.name ?? "";
    this.#fields.server.value = account?.server ?? "";
    this.#fields.port.value = account?.port ?? "";
    this.#fields.transport.value = account?.transport ?? "udp";
    const encryption = account?.encryption ?? "off";
    const known = [...this.#fields.encryption.options].some((option) => option.value === encryption);
    if (!known) this.#fields.encryption.append(h("option", null, encryption));
    this.#fields.encryption.value = encryption;
    this.#fields.user.value = account?.user ?? "";
    this.#fields.password.value = "";
    this.#fields.password.placeholder = account ? t("settings.password.kept") : "";
    this.codecs.fill(codecs, account?.codecs ?? null);
    this.#fail(null);
    this.#mark([]);
    this.#unsure();
  }

  /** @param {FieldName[]} names */
  #mark(names) {
    for (const [name, input] of Object.entries(this.#fields)) {
      const wrong = names.includes(/** @type {FieldName} */ (name));
      setProblem(input, wrong ? this.error : null);
    }
    // On a touch screen the focus would bring up the keyboard over the message.
    if (names.length && matchMedia("(pointer: fine)").matches) this.#fields[names[0]].focus();
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

  /** The fields of `save_account`, or null after an error was shown. */
  #read() {
    const value = (/** @type {FieldName} */ name) => this.#fields[name].value.trim();
    const port = value("port") === "" ? null : Number(value("port"));
    const complain = (/** @type {string} */ key, /** @type {FieldName} */ name) => {
      this.#fail(t(key));
      this.#mark([name]);
      return null;
    };
    if (!value("server")) return complain("settings.need.server", "server");
    if (port !== null && !(Number.isInteger(port) && port > 0 && port < 65536))
      return complain("settings.need.port", "port");
    if (!value("user")) return complain("settings.need.user", "user");
    if (!this.codecs.chosen.length) {
      this.#fail(t("settings.need.codec"));
      return null;
    }
    // An empty password field keeps the stored password, which is for its own server and user only.
    const account = this.#stored;
    const kept = account !== null && account.server === value("server") && account.user === value("user");
    const password = this.#fields.password.value || (kept ? null : "");
    if (account !== null && password === "") return complain("settings.need.password", "password");
    return {
      account: this.#edited,
      name: value("name"),
      server: value("server"),
      port,
      transport: value("transport"),
      user: value("user"),
      password,
      codecs: this.codecs.chosen,
      encryption: value("encryption"),
    };
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
    this.#mark([]);
    const settings = this.#read();
    if (this.#busy || !settings) return;
    this.#work(true);
    this.progress.dataset.kind = "busy";
    this.#show("settings.trying", { server: settings.server });
    try {
      this.#edited = (await this.phone.saveAccount(settings)).account;
      this.progress.dataset.kind = "done";
      this.#show("settings.saved", { user: settings.user });
      this.#leaving = setTimeout(() => this.#leave(), SUCCESS_MS);
    } catch (error) {
      this.#work(false);
      this.#show(null);
      this.#fail(...inWords(error));
      this.#mark(CULPRITS[error.code] ?? []);
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
