/**
 * The codecs in their order of preference: a box to use one, arrows to move it. Those that are neither
 * chosen nor suggested are folded away.
 */

import { h, setText, show } from "../dom.js";
import { number, t } from "../i18n.js";
import { icon } from "../icons.js";

export class Codecs {
  #first = h("ol", null);
  #rest = h("ol", null);
  #summary = h("summary", { testid: "codecs-more" });
  #more = h("details", null, this.#summary, this.#rest);
  element = h(
    "div",
    { class: "codecs", testid: "codecs", role: "group", "aria-labelledby": "codecs-label" },
    this.#first,
    this.#more,
  );

  #codecs = [];
  /** How many of the codecs stand before the fold. */
  #shown = 0;
  #used = new Set();

  /** `codecs` as in the snapshot; `order` the chosen names, the preferred one first, null for the suggested. */
  fill(codecs, order) {
    const chosen = order ?? codecs.filter((codec) => codec.available && codec.suggested).map((codec) => codec.name);
    const place = ({ name, suggested }) =>
      chosen.includes(name) ? chosen.indexOf(name) : chosen.length + (suggested ? 0 : 1);
    this.#codecs = [...codecs].sort((one, other) => place(one) - place(other));
    this.#shown = codecs.filter((codec) => place(codec) <= chosen.length).length;
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
    const facts = codec.available
      ? t("codec.facts", {
          rate: number(codec.rate / 1000, codec.rate % 1000 ? 1 : 0),
          bitrate: number(codec.bitrate / 1000),
        })
      : t("codec.missing", { package: codec.package });
    return h(
      "li",
      { class: codec.available ? null : "absent" },
      h(
        "label",
        null,
        box,
        h(
          "span",
          { class: "codec-text" },
          h("span", { class: "codec-name" }, codec.name),
          h("span", { class: "codec-facts" }, facts),
        ),
      ),
      this.#arrow(codec, index, -1, "up"),
      this.#arrow(codec, index, 1, "down"),
    );
  }

  #arrow(codec, index, step, symbol) {
    const target = index + step;
    const edge = step > 0 && index === this.#shown - 1;
    return h(
      "button",
      {
        type: "button",
        class: "quiet arrow",
        "aria-label": t(`codec.${symbol}`, { name: codec.name }),
        disabled: target < 0 || target >= this.#codecs.length || edge,
        onclick: () => {
          [this.#codecs[index], this.#codecs[target]] = [this.#codecs[target], this.#codecs[index]];
          // What is preferred to one before the fold comes out from behind it.
          if (index === this.#shown) this.#shown += step < 0 ? 1 : 0;
          this.#draw();
          const buttons = this.element.querySelectorAll("li")[target].querySelectorAll(".arrow");
          const again = buttons[step < 0 ? 0 : 1];
          (again.disabled ? buttons[step < 0 ? 1 : 0] : again).focus();
        },
      },
      icon(symbol),
    );
  }
}
