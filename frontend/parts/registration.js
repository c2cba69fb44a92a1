/** The account's state in the header, and the way into the settings. */

import { h, Part, setText, show } from "../dom.js";
import { t } from "../i18n.js";
import { icon } from "../icons.js";

export class Registration extends Part {
  build() {
    this.text = h("span", { class: "badge-text" });
    this.badge = h(
      "p",
      { class: "badge", testid: "registration", role: "status" },
      h("span", { class: "dot" }),
      this.text,
    );
    this.gear = h(
      "button",
      {
        type: "button",
        class: "quiet gear",
        testid: "settings-open",
        "aria-label": t("settings"),
        title: t("settings"),
        onclick: () => this.#toggle(),
      },
      icon("settings"),
    );
    this.append(this.badge, this.gear);
  }

  update() {
    const { account, control, view } = this.phone;
    const state = !control.connected ? "offline" : account ? account.registration.state : "none";
    this.badge.dataset.state = state;
    show(this.badge, state !== "none" && this.phone.state !== null);
    if (state !== "none") setText(this.text, t(`registration.${state}`, { user: account?.user ?? "" }));
    const { reason } = account?.registration ?? {};
    this.badge.title = account
      ? [`${account.user}@${account.server}`, reason].filter(Boolean).join(" – ")
      : "";
    this.gear.setAttribute("aria-pressed", String(view === "settings"));
  }

  #toggle() {
    this.phone.show(this.phone.view === "settings" ? null : "settings");
  }
}

customElements.define("spech-registration", Registration);
