// @ts-check
/**
 * How good a call is, in words and for a minute back. A grade goes from 4 (good) to 1 (bad), 0 is unknown;
 * it is that of the worse of two ways: the line to the provider by its MOS, the page's by what it loses.
 */

/** @import { CallState, Quality, QualitySample } from "./messages.js" */
/** @typedef {Quality | QualitySample} Report a sample of the server is without the way to the page */

/** Seconds, and with one report a second also the number of reports, that are remembered. */
export const MINUTE = 60;

const GRADES = ["unknown", "bad", "poor", "fair", "good"];
// Mean opinion scores (ITU-T G.107, annex B: many, some and few are dissatisfied), and frames lost in percent.
const MOS_FROM = [3.1, 3.6, 4.0];
const LOSS_UP_TO = [5, 2, 0.5];

/** @param {number} grade */
export const gradeName = (grade) => GRADES[grade];

/**
 * @param {number[]} limits
 * @param {(limit: number) => boolean} passes
 */
const steps = (limits, passes) => 1 + limits.filter(passes).length;

/** @param {{mos: number | null}} report */
export function lineGrade({ mos }) {
  return mos === null ? 0 : steps(MOS_FROM, (limit) => mos >= limit);
}

/**
 * In percent of the worse direction; null for a second in which no page was asked.
 *
 * @param {Report} report
 */
export function pageLoss(report) {
  if (!("page" in report)) return null;
  return Math.max(report.page.microphone_loss_percent, report.page.speaker_loss_percent);
}

/** @param {Report} report */
export function pageGrade(report) {
  const loss = pageLoss(report) ?? 0;
  return steps(LOSS_UP_TO, (limit) => loss <= limit);
}

/** @param {Report} report */
export function grade(report) {
  const line = lineGrade(report);
  return line === 0 ? 0 : Math.min(line, pageGrade(report));
}

/** The reports of the last minute for each call; those from before the page came know of the line only. */
export class QualityLog {
  /** @type {Map<string, Report[]>} */
  #reports = new Map();

  /**
   * @param {Record<string, Quality>} reports by call, as the server sends them once a second
   */
  note(reports) {
    for (const call of [...this.#reports.keys()]) if (!(call in reports)) this.#reports.delete(call);
    for (const [call, report] of Object.entries(reports)) {
      this.#reports.set(call, [...(this.#reports.get(call) ?? []), report].slice(-MINUTE));
    }
  }

  /**
   * Add what the line did before this page came.
   *
   * @param {string} call
   * @param {QualitySample[]} samples the oldest first
   */
  recall(call, samples) {
    this.#reports.set(call, [...samples, ...(this.#reports.get(call) ?? [])].slice(-MINUTE));
  }

  /**
   * The oldest first; empty before there are any.
   *
   * @param {CallState} call
   */
  of(call) {
    return this.#reports.get(call.id) ?? [];
  }
}
