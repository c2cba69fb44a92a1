// @ts-check
/** Codecs by the names under which people know them. */

import { number, t } from "./i18n.js";

/** @import { CodecState } from "./messages.js" */

const LOWEST_RATE = 8000;
/** @type {Record<string, string>} */
const NAMES = {
  PCMU: "G.711 µ-law",
  PCMA: "G.711 A-law",
  G722: "G.722",
  G729: "G.729",
  opus: "Opus",
  speex: "Speex",
};

/**
 * `iLBC/20` names its frames in ms; a rate behind the slash is shown by itself.
 *
 * @param {string} name
 */
export function codecName(name) {
  const [kind, detail] = name.split("/");
  const length = kind === "iLBC" ? ` ${detail} ms` : "";
  return (NAMES[kind] ?? kind) + length;
}

/**
 * Of the sound that travels, which is in the name where there are several.
 *
 * @param {CodecState} codec
 */
export function codecRate({ name, rate }) {
  const own = Number(name.split("/")[1]);
  const travels = own >= LOWEST_RATE ? own : rate;
  return t("codec.rate", { rate: number(travels / 1000, travels % 1000 ? 1 : 0) });
}

const WIDEBAND_RATE = 16000;

/**
 * Whether a codec carries more than the telephone's 3.4 kHz.
 *
 * @param {string} name
 * @param {CodecState[]} codecs
 */
export function isWideband(name, codecs) {
  const known = codecs.find((/** @type {CodecState} */ codec) => codec.name === name);
  return known !== undefined && known.rate >= WIDEBAND_RATE;
}

/**
 * Name and rate of a codec in use; `codecs` is the snapshot's list.
 *
 * @param {string} name
 * @param {CodecState[]} codecs
 */
export function codecInUse(name, codecs) {
  const known = codecs.find((/** @type {CodecState} */ codec) => codec.name === name);
  return known ? `${codecName(name)} · ${codecRate(known)}` : codecName(name);
}
