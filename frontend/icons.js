// @ts-check
/** The icons, drawn on a 24 by 24 grid, as inline SVG that takes the color of its text. */

const SVG = "http://www.w3.org/2000/svg";

const HANDSET =
  "M7.2 3.6 9.5 3.3a1 1 0 0 1 1.1.7l1 3a1.2 1.2 0 0 1-.3 1.2L9.6 9.9a12.4 12.4 0 0 0 4.5 4.5l1.7-1.7" +
  "a1.2 1.2 0 0 1 1.2-.3l3 1a1 1 0 0 1 .7 1.1l-.3 2.3a3.4 3.4 0 0 1-3.7 3A16 16 0 0 1 4.2 7.3a3.4 3.4 0 0 1 3-3.7z";

/**
 * @typedef {object} Shape lines and filled areas as SVG paths, circles as centre and radius
 * @property {string[]} [fill]
 * @property {string[]} [line]
 * @property {number[][]} [rings]
 * @property {number[][]} [dots]
 * @property {number} [turn] in degrees
 */
/** @typedef {keyof typeof PATHS} IconName */

const PATHS = {
  call: { fill: [HANDSET] },
  hangup: { fill: [HANDSET], turn: 135 },
  microphone: {
    line: [
      "M12 3.5a3 3 0 0 1 3 3v5a3 3 0 0 1-6 0v-5a3 3 0 0 1 3-3z",
      "M5.5 11.5a6.5 6.5 0 0 0 13 0",
      "M12 18v3",
    ],
  },
  moon: { line: ["M19.5 14.2A8 8 0 0 1 9.8 4.5a8 8 0 1 0 9.7 9.7z"] },
  chat: {
    line: [
      "M5 4.5h14a1.5 1.5 0 0 1 1.5 1.5v9a1.5 1.5 0 0 1-1.5 1.5h-8L6.5 20v-3.5H5A1.5 1.5 0 0 1 3.5 15V6A1.5 1.5 0 0 1 5 4.5z",
    ],
  },
  voicemail: {
    line: ["M6.5 16h11"],
    rings: [
      [6.5, 12, 4],
      [17.5, 12, 4],
    ],
  },
  bell: {
    line: [
      "M12 3.5a5.5 5.5 0 0 0-5.5 5.5c0 5-2 6.5-2 6.5h15s-2-1.5-2-6.5A5.5 5.5 0 0 0 12 3.5z",
      "M10 19a2.2 2.2 0 0 0 4 0",
    ],
  },
  muted: {
    line: [
      "M15 10V6.5a3 3 0 0 0-5.6-1.5",
      "M9 9v2.5a3 3 0 0 0 4.6 2.5",
      "M5.5 11.5a6.5 6.5 0 0 0 10.3 5.3",
      "M18.3 13a6.5 6.5 0 0 0 .2-1.5",
      "M12 18v3",
      "M4 4l16 16",
    ],
  },
  speaker: {
    line: ["M4 9.5v5h3.5L12 18.5v-13L7.5 9.5z", "M15.5 9a4.2 4.2 0 0 1 0 6", "M18 6.5a7.8 7.8 0 0 1 0 11"],
  },
  keypad: {
    dots: [
      [6, 5],
      [12, 5],
      [18, 5],
      [6, 12],
      [12, 12],
      [18, 12],
      [6, 19],
      [12, 19],
      [18, 19],
    ],
  },
  settings: {
    line: ["M4 7h9", "M17.5 7H20", "M4 17h2.5", "M11 17h9"],
    rings: [
      [15.2, 7],
      [8.8, 17],
    ],
  },
  backspace: { line: ["M9 5.5h10a2 2 0 0 1 2 2v9a2 2 0 0 1-2 2H9L3 12z", "M12 9.5l5 5", "M17 9.5l-5 5"] },
  plus: { line: ["M12 5v14", "M5 12h14"] },
  back: { line: ["M15 5l-7 7 7 7"] },
  up: { line: ["M6 15l6-6 6 6"] },
  down: { line: ["M6 9l6 6 6-6"] },
  eye: { line: ["M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12z"], rings: [[12, 12]] },
  hold: { line: ["M9 6v12", "M15 6v12"] },
  resume: { fill: ["M8 5.6a.8.8 0 0 1 1.2-.7l9.6 6.4a.8.8 0 0 1 0 1.4l-9.6 6.4a.8.8 0 0 1-1.2-.7z"] },
  transfer: { line: ["M4 12h14", "M13 6.5l5.5 5.5-5.5 5.5"] },
  merge: { line: ["M7 20v-4.5L12 11V4", "M17 20v-4.5L12 11", "M8.5 7L12 3.5 15.5 7"] },
  split: {
    line: ["M12 20v-7L6.5 7.5V4", "M12 13l5.5-5.5V4", "M4 6.2L6.5 3.7 9 6.2", "M15 6.2l2.5-2.5L20 6.2"],
  },
  silenced: { line: ["M4 9.5v5h3.5L12 18.5v-13L7.5 9.5z", "M16 9.5l5 5", "M21 9.5l-5 5"] },
  grip: {
    dots: [
      [9, 6],
      [15, 6],
      [9, 12],
      [15, 12],
      [9, 18],
      [15, 18],
    ],
  },
  record: { dots: [[12, 12, 4]], rings: [[12, 12, 8.5]] },
  stop: {
    fill: [
      "M8 6.5h8A1.5 1.5 0 0 1 17.5 8v8a1.5 1.5 0 0 1-1.5 1.5H8A1.5 1.5 0 0 1 6.5 16V8A1.5 1.5 0 0 1 8 6.5z",
    ],
  },
  bin: { line: ["M5 7h14", "M10 7V4.5h4V7", "M7 7l.8 12h8.4L17 7", "M10.3 10.5v5.5", "M13.7 10.5v5.5"] },
  lock: {
    line: [
      "M7 11h10a1.5 1.5 0 0 1 1.5 1.5v6A1.5 1.5 0 0 1 17 20H7a1.5 1.5 0 0 1-1.5-1.5v-6A1.5 1.5 0 0 1 7 11z",
      "M8.5 11V8a3.5 3.5 0 0 1 7 0v3",
    ],
  },
  story: {
    line: ["M5 5v14", "M19 5v14", "M5 9h14", "M16 6.5L19 9l-3 2.5", "M19 15.5H5", "M8 13l-3 2.5L8 18"],
  },
  close: { line: ["M6 6l12 12", "M18 6L6 18"] },
  save: { line: ["M12 4v11", "M7.5 11l4.5 4.5 4.5-4.5", "M5 20h14"] },
  outgoing: { line: ["M7 17L17 7", "M9 7h8v8"] },
  incoming: { line: ["M17 7L7 17", "M15 17H7V9"] },
  past: { line: ["M12 7.5V12l3 2", "M3.8 10.5A8.5 8.5 0 1 1 5.5 17.5", "M3.5 5.5v5h5"] },
  person: { line: ["M5 20a7 7 0 0 1 14 0"], rings: [[12, 8, 4]] },
  star: { line: ["M12 3.8l2.5 5.2 5.7.8-4.1 4 1 5.6-5.1-2.7-5.1 2.7 1-5.6-4.1-4 5.7-.8z"] },
  starred: { fill: ["M12 3.2l2.7 5.6 6.1.9-4.4 4.3 1 6.1-5.4-2.9-5.4 2.9 1-6.1L3.2 9.7l6.1-.9z"] },
  missed: { line: ["M5 7l7 7 7-7", "M5 13V7h6"] },
};

/**
 * @param {string} name
 * @param {Record<string, string | number>} attributes
 */
function draw(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  return element;
}

/**
 * One icon as an `<svg>` that assistive technology passes over; its button carries the name.
 *
 * @param {IconName} name
 */
export function icon(name) {
  /** @type {Shape} */
  const shape = PATHS[name];
  const svg = draw("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true", focusable: "false" });
  const group = draw("g", shape.turn ? { transform: `rotate(${shape.turn} 12 12)` } : {});
  for (const path of shape.fill ?? []) group.append(draw("path", { d: path, fill: "currentColor" }));
  for (const path of shape.line ?? []) {
    group.append(
      draw("path", {
        d: path,
        fill: "none",
        stroke: "currentColor",
        "stroke-width": 1.8,
        "stroke-linecap": "round",
        "stroke-linejoin": "round",
      }),
    );
  }
  for (const [cx, cy, r = 2.3] of shape.rings ?? []) {
    group.append(draw("circle", { cx, cy, r, fill: "none", stroke: "currentColor", "stroke-width": 1.8 }));
  }
  for (const [cx, cy, r = 1.7] of shape.dots ?? [])
    group.append(draw("circle", { cx, cy, r, fill: "currentColor" }));
  svg.append(group);
  return svg;
}
