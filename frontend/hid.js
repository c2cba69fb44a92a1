// @ts-check
/**
 * Where the buttons and lamps of a telephone headset are in its HID reports (USB HID Usage Tables, sections 11
 * and 14). A report is a row of bits; each button is one bit, and so is each lamp.
 */

export const HOOK_SWITCH = 0x000b0020;
export const PHONE_MUTE = 0x000b002f;
export const MUTE_LAMP = 0x00080009;
export const OFF_HOOK_LAMP = 0x00080017;
export const RING_LAMP = 0x00080018;

/** @typedef {{ report: number, bit: number, bits: number }} Place of a flag; `bits` is the length of its report */

/**
 * The places of one-bit flags in reports, by usage.
 *
 * @param {HIDReportInfo[]} reports
 */
function placesIn(reports) {
  /** @type {Map<number, Place>} */
  const places = new Map();
  for (const { reportId, items } of reports) {
    const bits = items.reduce((sum, { reportSize, reportCount }) => sum + reportSize * reportCount, 0);
    let start = 0;
    for (const { usages, isRange, usageMinimum, isArray, isConstant, reportSize, reportCount } of items) {
      for (let index = 0; index < reportCount; index += 1) {
        const usage = isRange ? usageMinimum + index : usages?.[index];
        const flag = reportSize === 1 && !isArray && !isConstant;
        if (flag && usage !== undefined) places.set(usage, { report: reportId, bit: start + index, bits });
      }
      start += reportSize * reportCount;
    }
  }
  return places;
}

/** @param {HIDDevice} device */
export const buttonsOf = (device) => placesIn(device.collections.flatMap(({ inputReports }) => inputReports));

/** @param {HIDDevice} device */
export const lampsOf = (device) => placesIn(device.collections.flatMap(({ outputReports }) => outputReports));

/**
 * @param {DataView} data of a report
 * @param {number} bit
 */
export const readFlag = (data, bit) =>
  bit >> 3 < data.byteLength && ((data.getUint8(bit >> 3) >> (bit & 7)) & 1) === 1;

/**
 * The reports that light those lamps and no others.
 *
 * @param {Map<number, Place>} lamps
 * @param {Set<number>} lit usages
 */
export function lampReports(lamps, lit) {
  /** @type {Map<number, Uint8Array<ArrayBuffer>>} */
  const reports = new Map();
  for (const [usage, { report, bit, bits }] of lamps) {
    const data = reports.get(report) ?? new Uint8Array(Math.ceil(bits / 8));
    if (lit.has(usage)) data[bit >> 3] |= 1 << (bit & 7);
    reports.set(report, data);
  }
  return reports;
}
