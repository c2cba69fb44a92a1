// @ts-check
/** The members of a conference, each with a lamp that follows the voice, a volume, and buttons to leave. */

import { h, Part, setText, setVoice, show } from "../dom.js";
import { t } from "../i18n.js";
import { icon } from "../icons.js";
import { live, nameOf } from "../calls.js";

/** @import { CallState } from "../messages.js" */
/** @import { IconName } from "../icons.js" */
/** @import { Phone } from "../phone.js" */

// How loud a member may be made for everybody, in dB.
const SOFTEST = -20;
const LOUDEST = 12;

class Member {
  /**
   * @param {CallState} call
   * @param {Phone} phone
   */
  constructor(call, phone) {
    this.call = call;
    this.lamp = h("span", { class: "lamp", "aria-hidden": "true" });
    this.name = h("span", { class: "member-name" });
    this.slider = h("input", {
      type: "range",
      min: SOFTEST,
      max: LOUDEST,
      step: 1,
      testid: `member-volume-${call.id}`,
      oninput: () => phone.setMember(call.id, { gain: this.slider.valueAsNumber, muted: false }),
      ondblclick: () => phone.setMember(call.id, { gain: 0, muted: false }),
    });
    this.mute = this.#button("mute", "speaker", () =>
      phone.setMember(call.id, {
        gain: this.call.conference?.gain ?? 0,
        muted: !this.call.conference?.muted,
      }),
    );
    this.split = this.#button("split", "split", () => phone.split(call.id));
    this.end = this.#button("end", "close", () => phone.hangUp(call.id));
    this.element = h(
      "li",
      { class: "member", testid: `member-${call.id}` },
      this.lamp,
      this.name,
      this.slider,
      h("span", { class: "member-buttons" }, this.mute, this.split, this.end),
    );
  }

  /**
   * @param {string} name
   * @param {IconName} symbol
   * @param {() => void} action
   */
  #button(name, symbol, action) {
    return h(
      "button",
      { type: "button", class: "quiet", testid: `member-${name}-${this.call.id}`, onclick: action },
      icon(symbol),
      h("span", { class: "member-word", "aria-hidden": "true" }),
    );
  }

  /** @param {CallState} call */
  update(call) {
    this.call = call;
    const name = nameOf(call);
    const { gain, muted } = call.conference ?? { gain: 0, muted: false };
    setText(this.name, name);
    if (this.slider.valueAsNumber !== gain) this.slider.value = String(gain);
    this.slider.style.setProperty("--share", ((gain - SOFTEST) / (LOUDEST - SOFTEST)).toFixed(3));
    this.slider.setAttribute("aria-label", t("member.volume", { who: name }));
    this.slider.setAttribute("aria-valuetext", `${Math.round(gain)} dB`);
    this.element.classList.toggle("silenced", muted);
    if (this.mute.getAttribute("aria-pressed") !== String(muted)) {
      this.mute.setAttribute("aria-pressed", String(muted));
      this.mute.firstElementChild?.replaceWith(icon(muted ? "silenced" : "speaker"));
    }
    /** @type {[HTMLButtonElement, string, string][]} */
    const labels = [
      [this.mute, muted ? "member.unmute" : "member.mute", muted ? "unmute" : "mute"],
      [this.split, "member.split", "member.alone"],
      [this.end, "member.end", "hang_up"],
    ];
    for (const [button, key, word] of labels) {
      button.title = t(key, { who: name });
      button.setAttribute("aria-label", button.title);
      setText(/** @type {Element} */ (button.lastElementChild), t(word));
    }
  }
}

export class Members extends Part {
  /** @type {HTMLUListElement} */
  list;

  /** @type {Map<string, Member>} */
  #members = new Map();

  build() {
    this.list = h("ul", { class: "members", testid: "members", "aria-label": t("conference") });
    this.append(this.list);
    this.phone.control.addEventListener("meters", () => this.#shine());
  }

  update() {
    const call = this.phone.selected;
    const calls = call && live(call) && call.conference ? this.phone.members(call) : [];
    show(this, calls.length > 0);
    const present = new Set(calls.map(({ id }) => id));
    for (const [id, member] of this.#members) {
      if (present.has(id)) continue;
      member.element.remove();
      this.#members.delete(id);
    }
    for (const each of calls) {
      if (!this.#members.has(each.id)) {
        const member = new Member(each, this.phone);
        this.#members.set(each.id, member);
        this.list.append(member.element);
      }
      this.#members.get(each.id)?.update(each);
    }
  }

  #shine() {
    const { meters } = this.phone.control;
    for (const [id, member] of this.#members) if (meters[id]) setVoice(member.lamp, meters[id].speaker);
  }
}

customElements.define("spech-members", Members);
