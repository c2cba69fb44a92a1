// @ts-check
/** Text messages: the chats, and the messages of one of them with a field to answer. */

import { labelOf } from "../accounts.js";
import { sameChat } from "../chats.js";
import { h, Part, setText, show } from "../dom.js";
import { inWords, t, translated } from "../i18n.js";
import { icon } from "../icons.js";
import { dayOf, timeOf, whenOf } from "../past.js";
import { tidy } from "../calls.js";
import { SureButton } from "./sure.js";
import { viewHead } from "./view-head.js";

/** @import { Chat, TextMessage } from "../messages.js" */
/** @import { Whom } from "../chats.js" */

/** Bytes of a message in UTF-8: more does not go into one request (RFC 3428 8). */
const MOST_BYTES = 900;
/** From here on the bytes that are left are shown. */
const FEW_BYTES = 100;

export class ChatsView extends Part {
  /** @type {HTMLHeadingElement} */
  heading;
  /** @type {HTMLButtonElement} */
  call;
  /** @type {SureButton} */
  forget;
  /** @type {HTMLFormElement} */
  start;
  /** @type {HTMLInputElement} */
  to;
  /** @type {HTMLUListElement} */
  list;
  /** @type {HTMLParagraphElement} */
  nothing;
  /** @type {HTMLButtonElement} */
  older;
  /** @type {HTMLDivElement} */
  log;
  /** @type {HTMLFormElement} */
  answer;
  /** @type {HTMLTextAreaElement} */
  text;
  /** @type {HTMLParagraphElement} */
  left;
  /** @type {HTMLButtonElement} */
  send;
  /** @type {HTMLParagraphElement} */
  problem;

  /** @type {Chat[] | null} */
  #listed = null;
  /** @type {TextMessage[] | null} */
  #shown = null;
  /** @type {Whom | null} */
  #open = null;

  build() {
    this.className = "chats";
    this.heading = h("h1", { tabindex: -1, testid: "chat-heading" });
    this.call = this.#tool("call", "call", "chat-call", () => this.#call());
    this.forget = new SureButton("chat.forget", "chat-forget", () => this.phone.chats.forget());
    this.forget.element.classList.add("small");
    this.to = h("input", {
      testid: "chat-to",
      autocomplete: "off",
      autocapitalize: "off",
      spellcheck: "false",
      maxlength: 256,
      "aria-label": t("chat.to"),
      placeholder: t("number.placeholder"),
    });
    this.start = h(
      "form",
      { class: "beside", onsubmit: (/** @type {SubmitEvent} */ event) => this.#start(event) },
      h("div", { class: "input" }, this.to),
      h("button", { type: "submit", class: "pill", testid: "chat-start" }, t("chat.write")),
    );
    this.list = h("ul", { class: "chat-list", testid: "chat-list" });
    this.nothing = h("p", { class: "nothing" }, t("chat.nothing"));
    this.older = h(
      "button",
      { type: "button", class: "quiet small", testid: "chat-older", onclick: () => this.phone.chats.older() },
      t("chat.older"),
    );
    this.log = h("div", { class: "chat-log", testid: "chat-log", role: "log", tabindex: 0 });
    this.text = h("textarea", {
      testid: "chat-text",
      rows: 2,
      "aria-label": t("chat.text"),
      placeholder: t("chat.text"),
      oninput: () => this.#typed(),
      onkeydown: (/** @type {KeyboardEvent} */ event) => this.#key(event),
    });
    this.left = h("p", { class: "chat-left", role: "status", testid: "chat-left", hidden: true });
    this.send = h("button", { type: "submit", class: "pill primary", testid: "chat-send" }, t("chat.send"));
    this.answer = h(
      "form",
      { class: "chat-answer main-action", onsubmit: (/** @type {SubmitEvent} */ event) => this.#send(event) },
      h("div", { class: "input" }, this.text),
      this.send,
      this.left,
    );
    this.problem = h("p", { class: "problem", role: "alert", testid: "chat-problem", hidden: true });
    this.append(
      viewHead("chats-close", () => this.#back(), this.heading, this.call),
      this.start,
      this.nothing,
      this.list,
      h("div", { class: "chat-tools" }, this.older, this.forget.element),
      this.log,
      this.problem,
      this.answer,
    );
    this.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#back();
    });
  }

  /**
   * @param {"call"} symbol
   * @param {string} label
   * @param {string} testid
   * @param {() => void} action
   */
  #tool(symbol, label, testid, action) {
    return h(
      "button",
      { type: "button", class: "quiet", testid, "aria-label": t(label), title: t(label), onclick: action },
      icon(symbol),
    );
  }

  arrive() {
    if (this.phone.chats.open) this.#settle();
    else this.heading.focus({ preventScroll: true });
  }

  /** From the messages to the chats, and from there out of the view. */
  #back() {
    if (this.phone.chats.open) this.phone.chats.show(null);
    else this.phone.show(null);
  }

  /** @param {SubmitEvent} event */
  #start(event) {
    event.preventDefault();
    const remote = tidy(this.to.value);
    const { account } = this.phone;
    if (!remote || !account) return;
    this.to.value = "";
    this.phone.chats.show({ account: account.id, remote });
  }

  #call() {
    const { open } = this.phone.chats;
    if (open) this.phone.dial(open.remote, open.account);
  }

  #typed() {
    this.phone.chats.draft = this.text.value;
    const left = MOST_BYTES - new TextEncoder().encode(this.text.value).length;
    show(this.left, left < FEW_BYTES);
    setText(this.left, left < FEW_BYTES ? t(left < 0 ? "chat.too_long" : "chat.left", { left }) : "");
    this.send.disabled = left < 0 || !this.text.value.trim() || !this.phone.control.connected;
  }

  /**
   * Enter sends where there is a keyboard with Shift; elsewhere it makes a new line.
   *
   * @param {KeyboardEvent} event
   */
  #key(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    if (!matchMedia("(pointer: fine)").matches) return;
    event.preventDefault();
    this.answer.requestSubmit();
  }

  /** @param {SubmitEvent} event */
  async #send(event) {
    event.preventDefault();
    const text = this.text.value.trim();
    if (!text || this.send.disabled) return;
    this.send.disabled = true;
    if (await this.phone.chats.send(text)) {
      this.text.value = "";
      this.phone.chats.draft = "";
    }
    this.#typed();
  }

  /** A chat was opened: show what was typed there, and put the cursor behind it. */
  #settle() {
    this.text.value = this.phone.chats.draft;
    this.#typed();
    if (matchMedia("(pointer: fine)").matches) this.text.focus({ preventScroll: true });
    else this.heading.focus({ preventScroll: true });
  }

  update() {
    const { chats } = this.phone;
    const { open } = chats;
    for (const element of [this.call, this.log, this.answer]) show(element, open !== null);
    for (const element of [this.start, this.list]) show(element, open === null);
    show(this.nothing, open === null && chats.list.length === 0);
    show(this.older, open !== null && chats.more);
    show(this.forget.element, open !== null && chats.messages.length > 0);
    show(this.problem, chats.problem !== null);
    if (chats.problem) setText(this.problem, inWords(chats.problem).join(" ").trim());
    setText(this.heading, open ? this.#nameOf(open) : t("chats"));
    if (!sameChat(open, this.#open)) {
      this.#open = open;
      this.forget.reset();
      if (open) this.#settle();
      else this.heading.focus({ preventScroll: true });
    }
    if (chats.list !== this.#listed) {
      this.#listed = chats.list;
      this.list.replaceChildren(...chats.list.map((chat) => h("li", null, this.#row(chat))));
    }
    if (chats.messages !== this.#shown) this.#draw(chats.messages);
    if (open && !document.hidden) chats.see();
  }

  /** @param {Whom} whom */
  #nameOf(whom) {
    return this.phone.chats.list.find((chat) => sameChat(chat, whom))?.name || whom.remote;
  }

  /** @param {Chat} chat */
  #row(chat) {
    const { account, remote, name, latest, unread } = chat;
    const at = new Date(latest.at * 1000);
    const { accounts } = this.phone;
    const own = accounts.find(({ id }) => id === account);
    const by = accounts.length > 1 && own ? labelOf(own, accounts) : "";
    return h(
      "button",
      {
        type: "button",
        class: "chat-row",
        testid: "chat-row",
        onclick: () => this.phone.chats.show({ account, remote }),
      },
      h("span", { class: "chat-who" }, name || remote, by ? h("span", { class: "chat-by" }, by) : null),
      h("time", { datetime: at.toISOString() }, whenOf(at)),
      h("span", { class: "chat-latest" }, latest.text),
      unread
        ? h("span", { class: "count", title: t("chat.unread", { count: unread }) }, String(unread))
        : null,
    );
  }

  /** @param {TextMessage[]} messages */
  #draw(messages) {
    this.#shown = messages;
    let before = "";
    const items = messages.flatMap((message) => {
      const day = dayOf(new Date(message.at * 1000));
      const heading = day === before ? [] : [h("p", { class: "chat-day" }, day)];
      before = day;
      return [...heading, bubble(message)];
    });
    this.log.replaceChildren(...items);
    this.log.scrollTop = this.log.scrollHeight;
  }
}

/** @param {TextMessage} message */
function bubble({ text, at, state, reason }) {
  const date = new Date(at * 1000);
  const told = state === "received" ? "" : t(`chat.${state}`);
  const item = h(
    "div",
    { class: "bubble", testid: "bubble" },
    h("p", { class: "bubble-text", dir: "auto" }, text),
    h(
      "p",
      { class: "bubble-foot" },
      h("time", { datetime: date.toISOString() }, timeOf(date)),
      told ? h("span", { class: "bubble-state" }, reason ? `${told}: ${translated(reason)}` : told) : null,
    ),
  );
  item.dataset.state = state;
  return item;
}

customElements.define("spech-chats", ChatsView);
