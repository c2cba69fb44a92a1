// @ts-check
/** The recordings on the server: to play, to save, to delete. */

import { h, Part, setText, show } from "../dom.js";
import { currentLanguage, inWords, number, t } from "../i18n.js";
import { icon } from "../icons.js";

/** @import { StoredRecording } from "../messages.js" */

/** How many are shown before the fold. */
const FIRST = 4;
const UNSURE_MS = 4000;
const MEGABYTE = 1_000_000;
/** @type {Intl.DateTimeFormatOptions} */
const DATE = { day: "numeric", month: "short", hour: "numeric", minute: "2-digit" };
// The server's names: date, time, whom it was with, perhaps a counter, and the format.
const NAME = /^\d{8}-\d{6}-(.*)\.\w+$/;

const address = (/** @type {string} */ name) => `recordings/${encodeURIComponent(name)}`;

/** @param {number} bytes */
function size(bytes) {
  if (bytes < MEGABYTE) return t("size.kilobytes", { size: number(bytes / 1000) });
  return t("size.megabytes", { size: number(bytes / MEGABYTE, bytes < 10 * MEGABYTE ? 1 : 0) });
}

class Row {
  /**
   * @param {StoredRecording} recording
   * @param {Recordings} panel
   */
  constructor({ name, bytes, at }, panel) {
    this.name = name;
    /** @type {HTMLAudioElement | null} */
    this.player = null;
    this.who = NAME.exec(name)?.[1] ?? name;
    const when = new Date(at * 1000);
    const date = when.toLocaleString(currentLanguage(), DATE);
    this.place = h("div", { class: "recording-player" });
    this.play = h(
      "button",
      {
        type: "button",
        class: "quiet",
        testid: "recording-play",
        "aria-expanded": "false",
        "aria-label": t("recording.play", { who: this.who }),
        onclick: () => panel.open(this),
      },
      icon("resume"),
    );
    this.remove = h(
      "button",
      {
        type: "button",
        class: "quiet",
        testid: "recording-delete",
        "aria-label": t("recording.delete", { who: this.who }),
        title: t("recording.delete", { who: this.who }),
        onclick: () => this.#remove(panel),
      },
      icon("bin"),
    );
    this.element = h(
      "li",
      { class: "recording" },
      this.play,
      h(
        "span",
        { class: "recording-text" },
        h("span", { class: "recording-who" }, this.who),
        h("time", { datetime: when.toISOString() }, `${date} · ${size(bytes)}`),
      ),
      h(
        "a",
        {
          class: "quiet",
          href: address(name),
          download: name,
          testid: "recording-save",
          "aria-label": t("recording.save", { who: this.who }),
          title: t("recording.save", { who: this.who }),
        },
        icon("save"),
      ),
      this.remove,
      this.place,
    );
  }

  get opened() {
    return this.place.firstChild !== null;
  }

  start() {
    const player = h("audio", { controls: true, src: address(this.name), testid: "recording-player" });
    this.player = player;
    this.place.replaceChildren(player);
    this.play.setAttribute("aria-expanded", "true");
    this.play.replaceChildren(icon("close"));
    player.play().catch(() => {}); // Where the browser wants another gesture, its own button is there.
  }

  stop() {
    this.player?.pause();
    this.player = null;
    this.place.replaceChildren();
    this.play.setAttribute("aria-expanded", "false");
    this.play.replaceChildren(icon("resume"));
  }

  /**
   * Two clicks, so that nothing is lost by one.
   *
   * @param {Recordings} panel
   */
  #remove(panel) {
    if (this.remove.classList.contains("danger")) {
      panel.discard(this.name);
      return;
    }
    this.#sure(true);
    setTimeout(() => this.#sure(false), UNSURE_MS);
  }

  /** @param {boolean} asks */
  #sure(asks) {
    this.remove.classList.toggle("danger", asks);
    this.remove.replaceChildren(asks ? t("recording.sure") : icon("bin"));
  }
}

export class Recordings extends Part {
  /** @type {HTMLUListElement} */
  list;
  /** @type {HTMLParagraphElement} */
  problem;
  /** @type {HTMLButtonElement} */
  more;

  /** @type {Row[]} */
  #rows = [];
  /** @type {StoredRecording[] | null} */
  #shown = null;
  #all = false;

  build() {
    this.classList.add("panel");
    this.list = h("ul", { class: "recordings", testid: "recordings" });
    this.problem = h("p", { class: "problem", role: "alert", hidden: true });
    this.more = h(
      "button",
      { type: "button", class: "quiet small", testid: "recordings-more", onclick: () => this.#unfold() },
      "",
    );
    this.append(
      h("div", { class: "panel-head" }, h("h2", null, t("recordings")), this.more),
      this.problem,
      this.list,
    );
  }

  update() {
    const { view } = this.phone;
    const recordings = this.phone.recordings.complete;
    this.hidden = recordings.length === 0 || !["dialer", "call"].includes(view);
    show(this.more, recordings.length > FIRST);
    setText(this.more, this.#all ? t("recordings.fewer") : t("recordings.all", { count: recordings.length }));
    if (recordings === this.#shown) return;
    this.#shown = recordings;
    const known = new Map(this.#rows.map((row) => [row.name, row]));
    // A row that is being listened to stays as it is.
    this.#rows = recordings.map((each) => {
      const row = known.get(each.name);
      return row?.opened ? row : new Row(each, this);
    });
    this.#draw();
  }

  /**
   * Play one, and no other.
   *
   * @param {Row} row
   */
  open(row) {
    const opened = row.opened;
    for (const each of this.#rows) if (each.opened) each.stop();
    if (!opened) row.start();
  }

  /** @param {string} name */
  async discard(name) {
    show(this.problem, false);
    try {
      await this.phone.recordings.remove(name);
    } catch (error) {
      setText(this.problem, inWords(error).join(" "));
      show(this.problem, true);
    }
  }

  #unfold() {
    this.#all = !this.#all;
    this.#draw();
    this.update();
  }

  #draw() {
    const rows = this.#all ? this.#rows : this.#rows.slice(0, FIRST);
    this.list.replaceChildren(...rows.map((row) => row.element));
  }
}

customElements.define("spech-recordings", Recordings);
