// @ts-check
/**
 * The codecs in their order of preference: a box to use one, a grip to drag it and arrows to move it.
 * Those that are neither chosen nor suggested are folded away.
 */

import { codecName, codecRate } from "../codecs.js";
import { h, setText, show } from "../dom.js";
import { number, t } from "../i18n.js";
import { icon } from "../icons.js";

/** @import { CodecState } from "../messages.js" */

export class Codecs {
  #first = h("ol", null);
  #rest = h("ol", null);
  #summary = h("summary", { testid: "codecs-more" });
  #more = h("details", null, this.#summary, this.#rest);
  /** Says where a codec was moved to. */
  #moved = h("p", { class: "unseen", role: "status" });
  element = h(
    "div",
    {
      class: "codecs",
      testid: "codecs",
      role: "group",
      "aria-labelledby": "codecs-label",
      onpointermove: (/** @type {PointerEvent} */ event) => this.#drag(event),
      onpointerup: () => this.#drop(),
      onpointercancel: () => this.#drop(),
    },
    this.#first,
    this.#more,
    this.#moved,
  );

  /** @type {CodecState[]} */
  #codecs = [];
  /** How many of the codecs stand before the fold. */
  #shown = 0;
  #used = new Set();
  /** @type {CodecState | null} The codec that is being dragged. */
  #dragged = null;

  /**
   * `codecs` as in the snapshot; `order` the chosen names, the preferred one first, null for the suggested.
   *
   * @param {CodecState[]} codecs
   * @param {string[] | null} order
   */
  fill(codecs, order) {
    const chosen =
      order ??
      codecs
        .filter((/** @type {CodecState} */ codec) => codec.available && codec.suggested)
        .map((/** @type {CodecState} */ codec) => codec.name);
    const place = (/** @type {CodecState} */ { name, suggested }) =>
      chosen.includes(name) ? chosen.indexOf(name) : chosen.length + (suggested ? 0 : 1);
    this.#codecs = [...codecs].sort((one, other) => place(one) - place(other));
    this.#shown = codecs.filter((/** @type {CodecState} */ codec) => place(codec) <= chosen.length).length;
    this.#used = new Set(chosen);
    this.#more.open = false;
    this.#draw();
  }

  /** The names in use, the preferred one first. */
  get chosen() {
    return this.#codecs
      .filter((codec) => codec.available && this.#used.has(codec.name))
      .map((codec) => codec.name);
  }

  #draw() {
    const rows = this.#codecs.map((codec, index) => this.#row(codec, index));
    this.#first.replaceChildren(...rows.slice(0, this.#shown));
    this.#rest.replaceChildren(...rows.slice(this.#shown));
    show(this.#more, this.#shown < rows.length);
    setText(this.#summary, t("codec.more", { count: rows.length - this.#shown }));
  }

  /**
   * @param {CodecState} codec
   * @param {number} index
   */
  #row(codec, index) {
    const box = h("input", {
      type: "checkbox",
      testid: `codec-${codec.name}`,
      checked: codec.available && this.#used.has(codec.name),
      disabled: !codec.available,
      onchange: () => {
        if (box.checked) this.#used.add(codec.name);
        else this.#used.delete(codec.name);
      },
    });
    const name = codecName(codec.name);
    const facts = [
      // What G.711 is called in SIP and in every provider's papers.
      codec.name.startsWith("PCM") ? codec.name : "",
      codecRate(codec),
      t("codec.bitrate", { bitrate: number(codec.bitrate / 1000, codec.bitrate % 1000 ? 1 : 0) }),
    ];
    const state = codec.available ? (codec === this.#dragged ? "dragged" : null) : "absent";
    return h(
      "li",
      { class: state },
      h(
        "span",
        {
          class: "grip",
          "aria-hidden": "true",
          onpointerdown: (/** @type {PointerEvent} */ event) => this.#grasp(event, codec),
        },
        icon("grip"),
      ),
      h(
        "label",
        null,
        box,
        h(
          "span",
          { class: "codec-text" },
          h("span", { class: "codec-name" }, name),
          h("span", { class: "codec-facts" }, facts.filter(Boolean).join(" · ")),
          codec.available
            ? null
            : h("span", { class: "codec-missing" }, t("codec.missing", { package: codec.package })),
        ),
      ),
      this.#arrow(codec, index, -1, "up"),
      this.#arrow(codec, index, 1, "down"),
    );
  }

  /**
   * @param {CodecState} codec
   * @param {number} index
   * @param {number} step
   * @param {"up" | "down"} symbol
   */
  #arrow(codec, index, step, symbol) {
    const target = index + step;
    const edge = step > 0 && index === this.#shown - 1;
    return h(
      "button",
      {
        type: "button",
        class: "quiet arrow",
        "aria-label": t(`codec.${symbol}`, { name: codecName(codec.name) }),
        disabled: target < 0 || target >= this.#codecs.length || edge,
        onclick: () => {
          this.#move(index, target);
          /** @type {NodeListOf<HTMLButtonElement>} */
          const buttons = this.element.querySelectorAll("li")[target].querySelectorAll("button.arrow");
          const again = buttons[step < 0 ? 0 : 1];
          (again.disabled ? buttons[step < 0 ? 1 : 0] : again).focus();
        },
      },
      icon(symbol),
    );
  }

  /**
   * @param {number} index
   * @param {number} target
   */
  #move(index, target) {
    const [codec] = this.#codecs.splice(index, 1);
    this.#codecs.splice(target, 0, codec);
    // What is preferred to one before the fold comes out from behind it.
    if (index >= this.#shown && target < this.#shown) this.#shown += 1;
    this.#draw();
    const place = { name: codecName(codec.name), place: target + 1, count: this.#codecs.length };
    setText(this.#moved, t("codec.moved", place));
  }

  /**
   * @param {PointerEvent} event
   * @param {CodecState} codec
   */
  #grasp(event, codec) {
    event.preventDefault();
    // The list itself listens to the pointer from now on, because rows are redrawn while one is moved.
    this.element.setPointerCapture(event.pointerId);
    this.#dragged = codec;
    this.#draw();
  }

  /** @param {PointerEvent} event */
  #drag(event) {
    if (!this.#dragged) return;
    const index = this.#codecs.indexOf(this.#dragged);
    const rows = [...(index < this.#shown ? this.#first : this.#rest).children];
    const first = index < this.#shown ? 0 : this.#shown;
    const above = rows.filter((row, place) => {
      const { top, height } = row.getBoundingClientRect();
      return place !== index - first && event.clientY > top + height / 2;
    });
    if (first + above.length !== index) this.#move(index, first + above.length);
  }

  #drop() {
    if (!this.#dragged) return;
    this.#dragged = null;
    this.#draw();
  }
}
