// @ts-check
/** The history of calls: by day, with search, and what is known of each call behind it. */

import { h, Part, setText, show } from "../dom.js";
import { inWords, t } from "../i18n.js";
import { icon } from "../icons.js";
import { dayOf } from "../past.js";
import { PastCall } from "./past-call.js";
import { SureButton } from "./sure.js";
import { viewHead } from "./view-head.js";

/** @import { CallEntry } from "../messages.js" */

const PAUSE_MS = 150;
/** Ages in days at which calls are forgotten, 0 for never. */
const AGES = [0, 30, 90, 365];

export class HistoryView extends Part {
  /** @type {HTMLHeadingElement} */
  heading;
  /** @type {HTMLInputElement} */
  search;
  /** @type {HTMLInputElement} */
  missed;
  /** @type {HTMLParagraphElement} */
  problem;
  /** @type {HTMLParagraphElement} */
  nothing;
  /** @type {HTMLDivElement} */
  days;
  /** @type {HTMLButtonElement} */
  more;
  /** @type {HTMLSelectElement} */
  keep;
  /** @type {HTMLDivElement} */
  foot;

  /** @type {Map<string, PastCall>} */
  #rows = new Map();
  /** @type {CallEntry[] | null} */
  #shown = null;
  #pause = 0;

  build() {
    this.className = "history";
    this.heading = h("h1", { tabindex: -1 }, t("history"));
    this.search = h("input", {
      type: "search",
      testid: "history-search",
      autocomplete: "off",
      spellcheck: "false",
      "aria-label": t("history.search"),
      placeholder: t("history.search"),
      oninput: () => this.#find(PAUSE_MS),
    });
    this.missed = h("input", {
      type: "checkbox",
      testid: "history-missed",
      onchange: () => this.#find(0),
    });
    this.problem = h("p", { class: "problem", role: "alert", testid: "history-problem", hidden: true });
    this.nothing = h("p", { class: "nothing", role: "status", testid: "history-nothing" });
    this.days = h("div", { testid: "history-calls" });
    this.more = h(
      "button",
      { type: "button", class: "pill", testid: "history-more", onclick: () => this.phone.history.further() },
      t("history.more"),
    );
    this.keep = h(
      "select",
      { testid: "history-keep", "aria-label": t("history.keep"), onchange: () => this.#keep() },
      ...AGES.map((days) => h("option", { value: days }, t(`history.keep.${days}`))),
    );
    const clear = new SureButton("history.clear", "history-clear", () => this.phone.history.clear());
    this.foot = h(
      "div",
      { class: "history-foot" },
      h("div", { class: "input select small" }, this.keep, icon("down")),
      this.#file("csv"),
      this.#file("json"),
      clear.element,
    );
    this.append(
      viewHead("history-close", () => this.phone.show(null), this.heading),
      h(
        "div",
        { class: "history-tools", role: "search" },
        h("div", { class: "input" }, this.search),
        h("label", { class: "switch" }, this.missed, t("history.missed")),
      ),
      this.problem,
      this.days,
      this.nothing,
      h("div", { class: "history-more" }, this.more),
      this.foot,
    );
    document.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.isConnected || document.querySelector("dialog[open]")) return;
      event.preventDefault();
      if (event.target !== this.search || !this.search.value) this.phone.show(null);
      else {
        this.search.value = "";
        this.#find(0);
      }
    });
  }

  /** @param {"csv" | "json"} ending */
  #file(ending) {
    return h(
      "a",
      { class: "quiet", href: `history.${ending}`, download: "", testid: `history-${ending}` },
      icon("save"),
      ending.toUpperCase(),
    );
  }

  connectedCallback() {
    super.connectedCallback();
    this.search.value = "";
    this.missed.checked = false;
    this.#find(0);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    clearTimeout(this.#pause);
    this.phone.history.close();
  }

  arrive() {
    this.heading.focus({ preventScroll: true });
  }

  /** @param {number} after ms, because more may be typed */
  #find(after) {
    clearTimeout(this.#pause);
    const wanted = { search: this.search.value.trim(), missed: this.missed.checked };
    this.#pause = setTimeout(() => this.phone.history.find(wanted), after);
  }

  #keep() {
    this.phone.history.keep(Number(this.keep.value) || null);
  }

  update() {
    const { history } = this.phone;
    show(this.problem, history.problem !== null);
    if (history.problem) setText(this.problem, inWords(history.problem).join(" ").trim());
    const asks = this.search.value.trim() !== "" || this.missed.checked;
    setText(this.nothing, history.entries.length ? "" : t(asks ? "history.nothing" : "history.empty"));
    show(this.more, history.more);
    show(this.foot, asks || history.entries.length > 0);
    if (document.activeElement !== this.keep) this.#showAge(history.keepDays ?? 0);
    for (const row of this.#rows.values()) row.update();
    if (history.entries === this.#shown) return;
    this.#shown = history.entries;
    this.#draw(history.entries);
  }

  /** @param {number} days */
  #showAge(days) {
    const value = String(days);
    // An age that another program has set.
    if (![...this.keep.options].some((option) => option.value === value))
      this.keep.append(h("option", { value }, t("history.keep.days", { count: days })));
    this.keep.value = value;
  }

  /**
   * A heading and a list for each day. Rows that stay keep their elements, and with them the focus.
   *
   * @param {CallEntry[]} entries
   */
  #draw(entries) {
    const known = this.#rows;
    this.#rows = new Map(
      entries.map((entry) => [entry.id, known.get(entry.id) ?? new PastCall(entry, this.phone)]),
    );
    /** @type {Map<string, HTMLElement[]>} */
    const days = new Map();
    for (const entry of entries) {
      const day = dayOf(new Date(entry.began * 1000));
      const row = this.#rows.get(entry.id)?.element;
      if (row) days.set(day, [...(days.get(day) ?? []), row]);
    }
    const focused = document.activeElement;
    this.days.replaceChildren(
      ...[...days].flatMap(([day, rows]) => [h("h2", null, day), h("ul", { class: "past" }, ...rows)]),
    );
    if (focused instanceof HTMLElement && this.days.contains(focused)) focused.focus({ preventScroll: true });
  }
}

customElements.define("spech-history", HistoryView);
