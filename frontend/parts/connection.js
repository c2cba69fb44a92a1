// @ts-check
/**
 * How good the call is: a small mark in the call, and what is behind it beside the call: both ways on which
 * its sound travels, what each loses, and the last minute of it.
 */

import { codecInUse, isWideband } from "../codecs.js";
import { h, Part, setText, show } from "../dom.js";
import { number, t } from "../i18n.js";
import { icon } from "../icons.js";
import { recall, remember } from "../memory.js";
import { live } from "../calls.js";
import { grade, gradeName, lineGrade, MINUTE, pageGrade, pageLoss } from "../quality.js";

/** @import { CallState, Quality } from "../messages.js" */
/** @import { Report } from "../quality.js" */

const SVG = "http://www.w3.org/2000/svg";
const BARS = 4;
// A sparkline's box, in its own units.
const WIDTH = 240;
const HEIGHT = 36;
const MOS = { from: 1, to: 4.5 };
const LOSS = { from: 10, to: 0 };
const FORMATS = { pcm: "PCM", opus: "Opus" };

/** @typedef {{ from: number, to: number }} Scale values at the bottom and at the top of a sparkline */

/**
 * The newest report, once there is one that knows of both ways.
 *
 * @param {Report[]} reports
 */
function current(reports) {
  const newest = reports.at(-1);
  return newest && "page" in newest ? newest : null;
}

function bars() {
  return h(
    "span",
    { class: "bars", "aria-hidden": "true" },
    ...Array.from({ length: BARS }, () => h("span", null)),
  );
}

/**
 * @param {HTMLElement} element
 * @param {number} value
 */
function setGrade(element, value) {
  element.dataset.grade = gradeName(value);
  for (const [index, bar] of [...(element.querySelector(".bars")?.children ?? [])].entries())
    bar.classList.toggle("lit", index < value);
}

/** The button at the foot of a call: grade, codec and, where it is so, a lock. */
export class Mark extends Part {
  /** @type {HTMLSpanElement} */
  wideband;
  /** @type {HTMLSpanElement} */
  word;
  /** @type {HTMLSpanElement} */
  codec;
  /** @type {HTMLSpanElement} */
  lock;
  /** @type {HTMLButtonElement} */
  button;

  build() {
    this.word = h("span", { class: "mark-word" });
    this.wideband = h("span", { class: "mark-hd", testid: "hd", title: t("wideband") }, "HD");
    this.codec = h("span", { class: "mark-codec", testid: "codec-in-use" });
    this.lock = h(
      "span",
      {
        class: "mark-lock",
        testid: "encrypted",
        role: "img",
        "aria-label": t("encrypted"),
        title: t("encrypted"),
      },
      icon("lock"),
    );
    this.button = h(
      "button",
      {
        type: "button",
        class: "mark",
        testid: "quality",
        "aria-controls": "connection",
        onclick: () => document.querySelector("spech-connection")?.toggle(),
      },
      bars(),
      this.word,
      this.wideband,
      this.codec,
      this.lock,
    );
    this.append(this.button);
    this.phone.addEventListener("quality", () => this.refresh());
  }

  update() {
    const call = this.phone.selected;
    const codec = call && live(call) ? call.codec : null;
    show(this.button, codec !== null);
    if (!call || codec === null) return;
    const report = current(this.phone.quality(call));
    // Nobody hears us, or nothing is heard here: whatever the lines are like, the call is not good.
    const works = !this.phone.owns(call) || this.phone.sound.works;
    const value = report && works ? grade(report) : 0;
    const codecs = this.phone.state?.codecs ?? [];
    show(this.wideband, isWideband(codec, codecs));
    this.button.setAttribute(
      "aria-expanded",
      String(Boolean(document.querySelector("spech-connection")?.opened)),
    );
    setGrade(this.button, value);
    setText(this.word, value ? t(`grade.${gradeName(value)}`) : "");
    setText(this.codec, codecInUse(codec, codecs));
    show(this.lock, Boolean(call.encrypted));
    this.button.title = t("connection.show");
  }
}

class Sparkline {
  /**
   * @param {string} label
   * @param {Scale} scale
   */
  constructor(label, scale) {
    this.scale = scale;
    this.area = document.createElementNS(SVG, "path");
    this.line = document.createElementNS(SVG, "path");
    this.area.setAttribute("class", "spark-area");
    this.line.setAttribute("class", "spark-line");
    this.element = document.createElementNS(SVG, "svg");
    this.element.setAttribute("class", "spark");
    this.element.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    this.element.setAttribute("preserveAspectRatio", "none");
    this.element.setAttribute("role", "img");
    this.element.setAttribute("aria-label", label);
    this.element.append(this.area, this.line);
  }

  /**
   * Draw the values of the last minute, the newest at the right edge; null is a gap.
   *
   * @param {(number | null)[]} values
   */
  draw(values) {
    const { from, to } = this.scale;
    const place = (/** @type {number} */ value, /** @type {number} */ index) => {
      const share = Math.max(0, Math.min(1, (value - from) / (to - from)));
      const x = WIDTH - ((values.length - 1 - index) * WIDTH) / (MINUTE - 1);
      return `${x.toFixed(1)} ${(HEIGHT - 2 - share * (HEIGHT - 4)).toFixed(1)}`;
    };
    /** @type {string[][]} */
    const runs = [];
    values.forEach((value, index) => {
      if (value === null) return;
      if (index === 0 || values[index - 1] === null) runs.push([]);
      runs.at(-1)?.push(place(value, index));
    });
    const path = (/** @type {string[]} */ points) => `M${points.join("L")}`;
    const foot = (/** @type {string} */ point) => `${point.split(" ")[0]} ${HEIGHT}`;
    this.line.setAttribute("d", runs.map((run) => path(run.length > 1 ? run : [run[0], run[0]])).join(""));
    this.area.setAttribute(
      "d",
      runs.map((run) => `${path([foot(run[0]), ...run, foot(run[run.length - 1])])}Z`).join(""),
    );
  }
}

/** One of the two ways: its grade, its last minute, its figures. */
class Way {
  /** @type {Record<string, HTMLElement>} */
  #values = {};

  /**
   * @param {string} name
   * @param {Scale} scale
   * @param {string[]} figures
   */
  constructor(name, scale, figures) {
    this.word = h("span", { class: "way-word" });
    this.spark = new Sparkline(t(`way.${name}.minute`), scale);
    this.head = h("div", { class: "way-head" }, h("span", null, t(`way.${name}`)), bars(), this.word);
    this.element = h(
      "section",
      { class: "way", testid: `way-${name}`, "aria-label": t(`way.${name}`) },
      this.head,
      this.spark.element,
      h("dl", { class: "figures" }, ...figures.map((figure) => this.#figure(name, figure))),
    );
  }

  /**
   * @param {string} name
   * @param {string} figure
   */
  #figure(name, figure) {
    const value = h("dd", { testid: `${name}-${figure}` });
    this.#values[figure] = value;
    return h("div", { title: t(`figure.${figure}.why`) }, h("dt", null, t(`figure.${figure}`)), value);
  }

  /**
   * @param {number} value
   * @param {(number | null)[]} history
   * @param {Record<string, string>} figures
   */
  show(value, history, figures) {
    setGrade(this.element, value);
    setText(this.word, value ? t(`grade.${gradeName(value)}`) : t("grade.unknown"));
    this.spark.draw(history);
    for (const [figure, text] of Object.entries(figures)) setText(this.#values[figure], text);
  }
}

const percent = (/** @type {number | null} */ value) =>
  `${number(value ?? 0, value && value < 10 ? 1 : 0)} %`;

/** @param {number | null} value */
function milliseconds(value) {
  if (value === null) return "–";
  return value < 1 ? "< 1 ms" : `${number(value, value < 10 ? 1 : 0)} ms`;
}

export class Connection extends Part {
  /** @type {HTMLParagraphElement} */
  verdict;
  /** @type {HTMLParagraphElement} */
  far;
  /** @type {HTMLDivElement} */
  body;
  /** @type {HTMLButtonElement} */
  head;

  #open = recall("connection", false);

  /** @type {Way} */
  line;
  /** @type {Way} */
  page;

  build() {
    this.classList.add("panel");
    this.id = "connection";
    this.line = new Way("line", MOS, ["loss", "jitter", "round_trip", "mos"]);
    this.page = new Way("page", LOSS, ["loss", "round_trip", "codec"]);
    this.verdict = h("p", { class: "verdict", testid: "verdict", role: "status" });
    this.far = h("p", { class: "help", testid: "far-end" });
    this.body = h("div", { class: "ways" }, this.verdict, this.line.element, this.page.element, this.far);
    this.head = h(
      "button",
      { type: "button", class: "fold", testid: "connection-fold", onclick: () => this.#fold(!this.#open) },
      h("span", null, t("connection")),
      icon("down"),
    );
    this.append(h("div", { class: "panel-head" }, h("h2", null, this.head), this.#story()), this.body);
    this.phone.addEventListener("quality", () => this.refresh());
  }

  #story() {
    return h(
      "button",
      {
        type: "button",
        class: "quiet small",
        testid: "story-open",
        onclick: () => this.phone.read(this.phone.selected?.id ?? null),
      },
      t("story"),
    );
  }

  get opened() {
    return this.#open;
  }

  /** Open and come into sight, or close. */
  toggle() {
    this.#fold(!this.#open);
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (this.#open) this.scrollIntoView({ block: "nearest", behavior: still ? "auto" : "smooth" });
  }

  /** @param {boolean} open */
  #fold(open) {
    this.#open = open;
    remember("connection", open);
    this.phone.dispatchEvent(new Event("quality"));
  }

  update() {
    const { selected: call, view } = this.phone;
    this.hidden = view !== "call" || !call || !live(call);
    if (this.hidden || !call) return;
    this.head.setAttribute("aria-expanded", String(this.#open));
    const reports = this.phone.quality(call);
    const report = current(reports);
    show(this.body, this.#open);
    if (!this.#open) return;
    for (const way of [this.line, this.page]) show(way.element, Boolean(report));
    show(this.far, report !== null && report.remote_loss_percent !== null);
    setText(this.verdict, this.#verdict(call, report));
    if (!report) return;
    this.line.show(
      lineGrade(report),
      reports.map(({ mos }) => mos),
      {
        loss: percent(report.loss_percent),
        jitter: milliseconds(report.jitter_ms),
        round_trip: milliseconds(report.round_trip_ms),
        mos: report.mos === null ? "–" : number(report.mos, 1),
      },
    );
    this.page.show(pageGrade(report), reports.map(pageLoss), {
      loss: percent(pageLoss(report)),
      round_trip: milliseconds(report.page.round_trip_ms),
      codec: this.phone.plays(call) ? FORMATS[this.phone.sound.format] : "–",
    });
    if (report.remote_loss_percent !== null)
      setText(this.far, t("far_end", { loss: percent(report.remote_loss_percent) }));
  }

  /**
   * @param {CallState} call
   * @param {Quality | null} report
   */
  #verdict(call, report) {
    if (!report) return t("verdict.waiting");
    if (call.on_hold || call.held) return t("verdict.hold");
    if (report.trouble) return t(`verdict.${report.trouble}`);
    return t(grade(report) ? "verdict.good" : "verdict.waiting");
  }
}

customElements.define("spech-mark", Mark);
customElements.define("spech-connection", Connection);
