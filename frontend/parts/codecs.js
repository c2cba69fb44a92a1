/** The codecs in their order of preference: a box to use one, arrows to move it. */

import { h } from "../dom.js";
import { number, t } from "../i18n.js";
import { icon } from "../icons.js";

export class Codecs {
  element = h("ol", { class: "codecs", testid: "codecs", "aria-labelledby": "codecs-label" });

  #codecs = [];
  #used = new Set();

  /** `codecs` as in the snapshot; `order` the chosen names, the preferred one first, null for the suggested. */
  fill(codecs, order) {
    const chosen = order ?? codecs.filter((codec) => codec.available && codec.suggested).map((codec) => codec.name);
    const place = (codec) => (chosen.includes(codec.name) ? chosen.indexOf(codec.name) : chosen.length);
    this.#codecs = [...codecs].sort((one, other) => place(one) - place(other));
    this.#used = new Set(chosen);
    this.#draw();
  }

  /** The names in use, the preferred one first. */
  get chosen() {
    return this.#codecs
      .filter((codec) => codec.available && this.#used.has(codec.name))
      .map((codec) => codec.name);
  }

  #draw() {
    this.element.replaceChildren(...this.#codecs.map((codec, index) => this.#row(codec, index)));
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
    return h(
      "button",
      {
        type: "button",
        class: "quiet arrow",
        "aria-label": t(`codec.${symbol}`, { name: codec.name }),
        disabled: target < 0 || target >= this.#codecs.length,
        onclick: () => {
          [this.#codecs[index], this.#codecs[target]] = [this.#codecs[target], this.#codecs[index]];
          this.#draw();
          const buttons = this.element.children[target].querySelectorAll(".arrow");
          const again = buttons[step < 0 ? 0 : 1];
          (again.disabled ? buttons[step < 0 ? 1 : 0] : again).focus();
        },
      },
      icon(symbol),
    );
  }
}
