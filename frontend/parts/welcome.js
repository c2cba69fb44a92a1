// @ts-check
/** What is shown before there is an account: one thing to do. And the blank moment before the first snapshot. */

import { h, Part, setText, show } from "../dom.js";
import { t } from "../i18n.js";

export class Welcome extends Part {
  /** @type {HTMLParagraphElement} */
  vault;

  build() {
    this.className = "welcome";
    this.vault = h("p", { class: "problem", role: "alert", hidden: true });
    this.append(
      h("img", { src: "favicon.svg", alt: "", width: 72, height: 72 }),
      h("h1", null, t("welcome")),
      h("p", { class: "lead" }, t("welcome.lead")),
      this.vault,
      h(
        "button",
        {
          type: "button",
          class: "pill primary large",
          testid: "welcome-settings",
          onclick: () => this.phone.show("settings"),
        },
        t("welcome.go"),
      ),
    );
  }

  update() {
    const vault = this.phone.state?.vault;
    show(this.vault, vault?.state === "damaged");
    setText(this.vault, vault?.message ?? "");
  }
}

customElements.define("spech-welcome", Welcome);
