// @ts-check
/**
 * What happened in a call: both ends as lines, each message as an arrow between them, what it means in plain
 * words, and the message itself behind it. While the call is up the story grows.
 */

import { h, Part, setText, show } from "../dom.js";
import { currentLanguage, inWords, number, t, translated } from "../i18n.js";
import { icon } from "../icons.js";
import { recall, remember } from "../memory.js";
import { nameOf } from "../calls.js";
import { whoOf } from "../past.js";

/** @import { TimelineStep } from "../messages.js" */
/** @import { Phone } from "../phone.js" */

const CHALLENGES = ["401", "407"];

/**
 * Whether a step is a refusal: a response from 300 up that is not the usual question for the password.
 *
 * @param {TimelineStep} step
 */
function refusal({ kind, title }) {
  const status = /^([3-6]\d\d)\b/.exec(title)?.[1];
  return kind !== "note" && status !== undefined && !CHALLENGES.includes(status);
}

export class Story extends Part {
  /** @type {HTMLHeadingElement} */
  heading;
  /** @type {HTMLParagraphElement} */
  about;
  /** @type {HTMLParagraphElement} */
  nothing;
  /** @type {HTMLOListElement} */
  steps;
  /** @type {HTMLSpanElement} */
  server;
  /** @type {HTMLDivElement} */
  ends;
  /** @type {HTMLAnchorElement} */
  capture;
  /** @type {HTMLAnchorElement} */
  text;
  /** @type {HTMLInputElement} */
  notes;
  /** @type {HTMLDialogElement} */
  dialog;

  /** @type {Phone["reading"]} The call whose story is shown. */
  #read = null;
  #told = 0;
  #asking = false;
  #server = "";

  build() {
    this.heading = h("h1", { id: "story-title", tabindex: -1 }, t("story"));
    this.about = h("p", { class: "help", testid: "story-about" });
    this.steps = h("ol", { class: "story-steps", testid: "story-steps" });
    this.server = h("span");
    this.ends = h(
      "div",
      { class: "ends", "aria-hidden": "true" },
      h("span", null, t("story.you")),
      this.server,
    );
    this.nothing = h("p", { class: "help", testid: "story-nothing" });
    this.capture = this.#download("capture", "pcap");
    this.text = this.#download("text", "txt");
    this.notes = h("input", {
      type: "checkbox",
      testid: "story-notes",
      checked: recall("notes", false),
      onchange: () => this.#showNotes(),
    });
    this.dialog = h(
      "dialog",
      {
        class: "sheet",
        testid: "story",
        "aria-labelledby": "story-title",
        onclose: () => this.phone.read(null),
      },
      h(
        "header",
        { class: "sheet-head" },
        h("div", null, this.heading, this.about),
        h(
          "button",
          {
            type: "button",
            class: "quiet",
            testid: "story-close",
            "aria-label": t("close"),
            onclick: () => this.dialog.close(),
          },
          icon("close"),
        ),
      ),
      h("div", { class: "sheet-body" }, this.ends, this.steps, this.nothing),
      h(
        "footer",
        { class: "sheet-foot" },
        this.capture,
        this.text,
        h("label", null, this.notes, t("story.notes")),
      ),
    );
    // A click beside the sheet closes it; the dialog itself is only hit outside of its content.
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.dialog.close();
    });
    this.append(this.dialog);
    this.#showNotes();
  }

  /** Timers and states are for those who look for a fault. */
  #showNotes() {
    remember("notes", this.notes.checked);
    this.steps.classList.toggle("without-notes", !this.notes.checked);
  }

  /**
   * @param {string} name
   * @param {string} ending
   */
  #download(name, ending) {
    const link = h(
      "a",
      { class: "pill", testid: `story-${name}`, download: "" },
      icon("save"),
      t(`story.${name}`),
    );
    link.dataset.ending = ending;
    return link;
  }

  update() {
    const { reading } = this.phone;
    if (reading === null) {
      if (this.dialog.open) this.dialog.close();
      this.#read = null;
      return;
    }
    if (reading !== this.#read) this.#open(reading);
    this.#ask();
  }

  /** @param {NonNullable<Phone["reading"]>} reading */
  #open(reading) {
    this.#read = reading;
    this.#told = 0;
    this.steps.replaceChildren();
    setText(this.about, this.#who(reading));
    if ("call" in reading)
      for (const link of [this.capture, this.text])
        link.href = `calls/${reading.call}.${link.dataset.ending}`;
    if (!this.dialog.open) this.dialog.showModal();
    this.heading.focus();
  }

  /** @param {NonNullable<Phone["reading"]>} reading */
  #who(reading) {
    if ("entry" in reading) return whoOf(reading.entry);
    const shown = this.phone.calls.find(({ id }) => id === reading.call);
    return shown ? nameOf(shown) : "";
  }

  async #ask() {
    const reading = this.#read;
    // The story of a call of the history is complete.
    if (this.#asking || reading === null || ("entry" in reading && this.#told > 0)) return;
    this.#asking = true;
    try {
      const steps =
        "entry" in reading
          ? await this.phone.history.steps(reading.entry.id)
          : await this.phone.steps(reading.call);
      if (reading === this.#read) this.#tell(steps);
    } catch (error) {
      if (reading === this.#read) setText(this.nothing, inWords(error)[0]);
    } finally {
      this.#asking = false;
    }
  }

  /**
   * Add what is new; the oldest steps of a very long call may be gone on the server.
   *
   * @param {TimelineStep[]} steps
   */
  #tell(steps) {
    if (steps.length < this.#told) this.steps.replaceChildren();
    const known = this.steps.childElementCount;
    this.#told = steps.length;
    this.#server = steps.find((step) => step.host)?.host ?? "";
    setText(this.server, this.#server);
    setText(this.nothing, steps.length ? "" : t("story.nothing"));
    show(this.ends, steps.length > 0);
    // The messages themselves are kept for as long as the server runs.
    const whole = this.#read !== null && "call" in this.#read;
    for (const link of [this.capture, this.text]) show(link, whole && steps.length > 0);
    this.steps.append(...steps.slice(known).map((step, index) => this.#step(step, steps, known + index)));
  }

  /**
   * @param {TimelineStep} step
   * @param {TimelineStep[]} steps
   * @param {number} index
   */
  #step(step, steps, index) {
    const after = index === 0 ? 0 : step.at - steps[0].at;
    const time = h(
      "time",
      { title: new Date(step.at * 1000).toLocaleTimeString(currentLanguage(), { timeStyle: "medium" }) },
      t("story.after", { seconds: number(after, 2) }),
    );
    if (step.kind === "note")
      return h("li", { class: "step note" }, time, h("p", { class: "lane" }, step.title));
    const elsewhere = step.host === this.#server ? "" : ` · ${step.host}`;
    const lane = [
      h("span", { class: "unseen" }, t(`story.${step.kind}`)),
      h("span", { class: "meaning" }, step.meaning ? translated(step.meaning) : step.title),
      h("span", { class: "said" }, (step.meaning ? step.title : "") + elsewhere),
      h("span", { class: "arrow-line", "aria-hidden": "true" }),
    ];
    return h(
      "li",
      { class: `step ${step.kind}${refusal(step) ? " refusal" : ""}` },
      time,
      step.message
        ? h("details", null, h("summary", { class: "lane" }, ...lane), h("pre", null, step.message))
        : h("div", { class: "lane" }, ...lane),
    );
  }
}

customElements.define("spech-story", Story);
