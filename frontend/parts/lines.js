// @ts-check
/**
 * The list of calls, shown when there is more than one, or one while another number is dialed. A click selects
 * a call, shows it, and moves the sound to it.
 */

import { h, Part, setText, show } from "../dom.js";
import { clock, t } from "../i18n.js";
import { icon } from "../icons.js";
import { live, nameOf, together } from "../calls.js";

export class Lines extends Part {
  #rows = new Map();

  build() {
    this.setAttribute("role", "group");
    this.setAttribute("aria-label", t("lines"));
    this.dataset.testid = "lines";
    this.phone.addEventListener("tick", () => this.#tick());
  }

  update() {
    const lines = this.#rowsWanted();
    const selected = this.phone.view === "call" ? this.phone.selected : null;
    const aside = ["settings", "history", "contacts"].includes(this.phone.view);
    const dialing = this.phone.view === "dialer";
    this.hidden = aside || !lines.some(live) || lines.length < (dialing ? 1 : 2);
    const present = new Set(lines.map((call) => call.id));
    for (const [id, row] of this.#rows) {
      if (present.has(id)) continue;
      row.remove();
      this.#rows.delete(id);
    }
    for (const call of lines) {
      if (!this.#rows.has(call.id)) {
        const row = h(
          "button",
          {
            type: "button",
            class: "line",
            testid: `line-${call.id}`,
            onclick: () => this.phone.select(call.id),
          },
          h("span", { class: "dot" }),
          h("span", { class: "line-who" }),
          h("span", { class: "record-dot", role: "img", "aria-label": t("recording") }),
          h("span", { class: "line-state" }),
          h("span", { class: "line-back" }, icon("back"), h("span", null, t("back_to_call"))),
        );
        this.#rows.set(call.id, row);
        this.append(row);
      }
      const row = this.#rows.get(call.id);
      row.dataset.state = live(call) && (call.on_hold || call.held) ? "waiting" : call.state;
      const isSelected = call.id === selected?.id || (selected && together(call, selected));
      row.setAttribute("aria-pressed", String(Boolean(isSelected)));
      const recording = live(call) ? this.phone.recording(call) : null;
      show(row.children[2], recording !== null && !recording.error);
      show(row.children[4], dialing && live(call));
      setText(row.children[1], this.phone.members(call).map(nameOf).join(", "));
    }
    this.#tick();
  }

  /** A conference has one row, that of its first call. */
  #rowsWanted() {
    return this.phone.lines.filter((call) => this.phone.members(call)[0].id === call.id);
  }

  #tick() {
    if (this.hidden) return;
    for (const call of this.#rowsWanted()) {
      const state = this.#rows.get(call.id)?.children[3];
      if (!state) continue;
      const seconds = this.phone.seconds(call);
      const waiting = call.on_hold || call.held;
      const time = seconds === null ? "" : clock(seconds);
      setText(
        state,
        call.state !== "answered"
          ? t(`short.${call.state}`)
          : waiting
            ? `${t(call.on_hold ? "short.on_hold" : "short.held")} · ${time}`
            : time,
      );
    }
  }
}

customElements.define("spech-lines", Lines);
