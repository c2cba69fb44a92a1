// @ts-check
/**
 * One audio frame as bytes: sequence (u32), sample position (u64), both little-endian, then the sound
 * (docs/protocol.md). A position is a plain number here; 2^53 samples are 5,900 years at 48 kHz.
 */

/** @typedef {{position: number, pcm: Int16Array}} Frame */

export const HEADER_BYTES = 12;
const WORD = 2 ** 32;

/**
 * Write the header into the first 12 bytes of `buffer`.
 *
 * @param {ArrayBuffer} buffer
 * @param {number} sequence
 * @param {number} position
 */
export function writeHeader(buffer, sequence, position) {
  const view = new DataView(buffer);
  view.setUint32(0, sequence >>> 0, true);
  view.setUint32(4, position % WORD, true);
  view.setUint32(8, Math.floor(position / WORD), true);
}

/**
 * The position of a frame's first sample; null when it is too short to be a frame.
 *
 * @param {ArrayBuffer} buffer
 */
export function positionOf(buffer) {
  if (buffer.byteLength <= HEADER_BYTES) return null;
  const view = new DataView(buffer);
  return view.getUint32(4, true) + view.getUint32(8, true) * WORD;
}
