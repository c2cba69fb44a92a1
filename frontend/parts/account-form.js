// @ts-check
/** The fields of one account: shows what is stored, reads what was entered, and marks what is wrong. */

import { h, setProblem } from "../dom.js";
import { currentLanguage, t } from "../i18n.js";
import { icon } from "../icons.js";
import { Codecs } from "./codecs.js";

/** @import { AccountState, CodecState, Commands } from "../messages.js" */

/**
 * @typedef {"name" | "server" | "port" | "transport" | "user" | "password" | "encryption" | "auth_user" |
 *   "display_name" | "proxy" | "stun" | "country" | "number_format" | "prefix" | "voicemail"} FieldName
 */

const TRANSPORTS = ["udp", "tcp", "tls"];
// What an account that was made elsewhere asks for besides is kept and shown by its name.
const ENCRYPTION = ["off", "optional", "required"];
const NUMBER_FORMATS = ["typed", "international", "national"];
// What most accounts do not need, and where it is folded away.
/** @type {("auth_user" | "display_name" | "proxy" | "stun" | "voicemail" | "country" | "prefix")[]} */
const FOLDED = ["auth_user", "display_name", "proxy", "stun", "voicemail", "country", "prefix"];

/** What was entered cannot be sent: `key` is the text that says why, `field` the one that is wrong. */
export class Mistake extends Error {
  /**
   * @param {string} key
   * @param {FieldName} [field]
   */
  constructor(key, field) {
    super(key);
    this.key = key;
    this.field = field;
  }
}

export class AccountForm {
  /** @type {Record<FieldName, any>} Inputs and selections. */
  #fields = /** @type {any} */ ({});
  /** The element that says what is wrong. */
  #problem;
  #codecs = new Codecs();
  /** What the form held when it was filled. */
  #filled = "";
  /** @type {HTMLDetailsElement} */
  #more;
  /** @readonly Shown only where there are several accounts. */
  name;
  /** @readonly @type {HTMLElement[]} */
  elements;

  /** @param {HTMLElement} problem has an id */
  constructor(problem) {
    this.#problem = problem;
    this.#more = this.#fold();
    this.name = this.#field("name", { placeholder: t("settings.name.example"), maxlength: 64 });
    this.elements = [
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
          this.#codecs.element,
        ),
      ),
      h("fieldset", { class: "fields beyond" }, this.#more),
    ];
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
      oninput: () => this.mark([]),
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

  #fold() {
    const country = this.#choice("country", [["", t("settings.country.none")]]);
    fillCountries(this.#fields.country);
    return h(
      "details",
      { class: "more", testid: "set-more" },
      h("summary", null, t("settings.more")),
      h(
        "div",
        { class: "fields" },
        this.#field("display_name", { maxlength: 64 }),
        this.#field("auth_user", { placeholder: t("settings.auth_user.same"), maxlength: 255 }),
        this.#field("proxy", { placeholder: "proxy.example.com:5060", inputmode: "url" }),
        this.#field("stun", { placeholder: "stun.example.com:3478", inputmode: "url" }),
        this.#field("voicemail", { placeholder: t("settings.voicemail.told"), inputmode: "tel" }),
        country,
        this.#choice(
          "number_format",
          NUMBER_FORMATS.map((name) => [name, t(`numbers.${name}`)]),
        ),
        this.#field("prefix", { inputmode: "tel", maxlength: 8 }),
        h("p", { class: "help" }, t("settings.country.help")),
      ),
    );
  }

  /** The first field that a new account needs. */
  focus() {
    (this.name.hidden ? this.#fields.server : this.#fields.name).focus({ preventScroll: true });
  }

  /**
   * @param {AccountState | null} account
   * @param {CodecState[]} codecs
   */
  fill(account, codecs) {
    this.#fields.name.value = account?.name ?? "";
    this.#fields.server.value = account?.server ?? "";
    this.#fields.port.value = account?.port ?? "";
    this.#fields.transport.value = account?.transport ?? "udp";
    this.#select("encryption", account?.encryption ?? "off");
    this.#fields.user.value = account?.user ?? "";
    for (const name of FOLDED) this.#fields[name].value = account?.[name] ?? "";
    this.#select("country", account?.country ?? "");
    this.#fields.number_format.value = account?.number_format ?? "typed";
    this.#more.open = FOLDED.some((name) => this.#fields[name].value !== "");
    this.#fields.password.value = "";
    this.#fields.password.placeholder = account ? t("settings.password.kept") : "";
    this.#codecs.fill(codecs, account?.codecs ?? null);
    this.mark([]);
    this.#filled = this.#entered;
  }

  get #entered() {
    return JSON.stringify([Object.values(this.#fields).map(({ value }) => value), this.#codecs.chosen]);
  }

  /** Whether something was entered since the form was filled. */
  get changed() {
    return this.#entered !== this.#filled;
  }

  /**
   * @param {FieldName} name
   * @param {string} value
   */
  #select(name, value) {
    const select = this.#fields[name];
    const known = [...select.options].some((option) => option.value === value);
    if (!known) select.append(h("option", null, value));
    select.value = value;
  }

  /** @param {FieldName[]} names */
  mark(names) {
    for (const [name, input] of Object.entries(this.#fields)) {
      const wrong = names.includes(/** @type {FieldName} */ (name));
      setProblem(input, wrong ? this.#problem : null);
    }
    // On a touch screen the focus would bring up the keyboard over the message.
    if (names.length && matchMedia("(pointer: fine)").matches) this.#fields[names[0]].focus();
  }

  /**
   * The fields of `save_account`.
   *
   * @param {AccountState | null} stored
   * @returns {Commands["save_account"]}
   * @throws {Mistake}
   */
  read(stored) {
    const value = (/** @type {FieldName} */ name) => this.#fields[name].value.trim();
    const port = value("port") === "" ? null : Number(value("port"));
    if (!value("server")) throw new Mistake("settings.need.server", "server");
    if (port !== null && !(Number.isInteger(port) && port > 0 && port < 65536))
      throw new Mistake("settings.need.port", "port");
    if (!value("user")) throw new Mistake("settings.need.user", "user");
    if (!this.#codecs.chosen.length) throw new Mistake("settings.need.codec");
    // An empty password field keeps the stored password, which is for its own server and user only.
    const same = (/** @type {"server" | "user" | "proxy"} */ name) => stored?.[name] === value(name);
    const kept = same("server") && same("user") && same("proxy");
    const password = this.#fields.password.value || (kept ? null : "");
    if (stored !== null && password === "") throw new Mistake("settings.need.password", "password");
    return {
      account: stored?.id ?? null,
      name: value("name"),
      server: value("server"),
      port,
      transport: value("transport"),
      user: value("user"),
      password,
      codecs: this.#codecs.chosen,
      encryption: value("encryption"),
      auth_user: value("auth_user"),
      display_name: value("display_name"),
      proxy: value("proxy"),
      stun: value("stun"),
      country: value("country"),
      number_format: value("country") ? value("number_format") : "typed",
      prefix: value("country") ? value("prefix") : "",
      voicemail: value("voicemail"),
    };
  }
}

/**
 * All countries with their calling codes; until they have come, the one that is stored.
 *
 * @param {HTMLSelectElement} select
 */
async function fillCountries(select) {
  const answer = await fetch("countries.json");
  if (!answer.ok) return;
  const names = new Intl.DisplayNames([currentLanguage()], { type: "region" });
  /** @type {[string, string][]} */
  const options = Object.entries(await answer.json()).map(([country, code]) => [
    country,
    `${names.of(country) ?? country} (+${code})`,
  ]);
  options.sort(([, one], [, other]) => one.localeCompare(other, currentLanguage()));
  const chosen = select.value;
  select.replaceChildren(
    select.options[0],
    ...options.map(([country, name]) => h("option", { value: country }, name)),
  );
  select.value = chosen;
}
