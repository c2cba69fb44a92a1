// @ts-check
/**
 * Tones of telephone networks: what `tones.json` says of them, as notes, and notes as sound.
 *
 * A cadence is a row of steps, `440+480/2000 0/4000`: both frequencies at once for 2000 ms, then silence for
 * 4000 ms, again and again. `400x25` is 400 Hz that swells 25 times a second. A note is
 * `{start, length, parts}`, in seconds, each part a frequency in Hz and its gain.
 */

/** @typedef {{ start: number, length: number, parts: { frequency: number, gain: number }[] }} Note */

const GAIN = 0.09;
// Each note begins and ends softly, which makes no click.
const EDGE_SECONDS = 0.006;

// ITU-T Q.23: each key is a row's frequency and a column's.
const KEYS = ["123", "456", "789", "*0#"];
const ROWS = [697, 770, 852, 941];
const COLUMNS = [1209, 1336, 1477];
const KEY_SECONDS = 0.12;

/**
 * The two frequencies of a key.
 *
 * @param {string} digit
 * @returns {Note}
 */
export function keyNote(digit) {
  const row = KEYS.findIndex((keys) => keys.includes(digit));
  const frequencies = row < 0 ? [] : [ROWS[row], COLUMNS[KEYS[row].indexOf(digit)]];
  const parts = frequencies.map((frequency) => ({ frequency, gain: GAIN / 3 }));
  return { start: 0, length: KEY_SECONDS, parts };
}

/**
 * A swelling tone is the tone and its two side bands.
 *
 * @param {string} text
 */
function partsOf(text) {
  const [frequency, swells] = text.split("x").map(Number);
  if (!swells) return [{ frequency, gain: 1 }];
  return [
    { frequency, gain: 0.5 },
    { frequency: frequency - swells, gain: 0.25 },
    { frequency: frequency + swells, gain: 0.25 },
  ];
}

/**
 * The notes of one round of a cadence, and how long a round is in seconds.
 *
 * @param {string} text
 */
export function readCadence(text) {
  /** @type {Note[]} */
  const notes = [];
  let start = 0;
  for (const step of text.split(" ")) {
    const [tones, milliseconds] = step.split("/");
    const length = Number(milliseconds) / 1000;
    if (tones !== "0") {
      const names = tones.split("+");
      const parts = names.flatMap(partsOf).map(({ frequency, gain }) => ({
        frequency,
        gain: (gain * GAIN) / names.length,
      }));
      notes.push({ start, length, parts });
    }
    start += length;
  }
  return { notes, period: start };
}

/**
 * Play notes into `output` from the context's time `at` on. One that `rings` dies away like a bell.
 *
 * @param {AudioContext} context
 * @param {Note[]} notes
 * @param {AudioNode} output
 * @param {number} at
 * @param {boolean} [rings]
 */
export function play(context, notes, output, at, rings = false) {
  for (const { start, length, parts } of notes) {
    for (const { frequency, gain } of parts) {
      const oscillator = new OscillatorNode(context, { frequency });
      const envelope = new GainNode(context, { gain: 0 });
      const begin = at + start;
      envelope.gain.setValueAtTime(0, begin);
      envelope.gain.linearRampToValueAtTime(gain, begin + EDGE_SECONDS);
      if (rings) envelope.gain.exponentialRampToValueAtTime(0.0005, begin + length - EDGE_SECONDS);
      else envelope.gain.setValueAtTime(gain, begin + length - EDGE_SECONDS);
      envelope.gain.linearRampToValueAtTime(0, begin + length);
      oscillator.connect(envelope).connect(output);
      oscillator.start(begin);
      oscillator.stop(begin + length);
    }
  }
}
