// @ts-check
/**
 * The few lines that stand in for a framework: elements are built once and then updated in place,
 * so that focus, selection and running animations survive every state snapshot.
 */

const LONG_ADDRESS = 18;
/** What no voice is softer than. */
const QUIET_DBFS = -55;

/** @import { Phone } from "./phone.js" */

/**
 * Make an element. `on…` attributes are listeners, `testid` is short for `data-testid`;
 * null, undefined and false leave an attribute out, true sets it without a value.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, any> | null} [attributes]
 * @param {...(Node | string | null | undefined)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name === "testid" ? "data-testid" : name, value === true ? "" : value);
  }
  for (const child of children) if (child !== null && child !== undefined) element.append(child);
  return element;
}

/**
 * The one element of the page that the selector means.
 *
 * @param {string} selector
 * @returns {HTMLElement}
 */
export function element(selector) {
  const found = document.querySelector(selector);
  if (!(found instanceof HTMLElement)) throw new Error(`the page has no ${selector}`);
  return found;
}

/**
 * Write `text` only if it differs, so that live regions speak once for each change.
 *
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Write a name or a SIP address; a long one is set smaller, and breaks after its `@` before anywhere else.
 *
 * @param {Element} element
 * @param {string} text
 */
export function setAddress(element, text) {
  if (element.textContent === text) return;
  const pieces = text.split(/(?<=@)/).flatMap((piece) => [document.createElement("wbr"), piece]);
  element.replaceChildren(...pieces.slice(1));
  element.classList.toggle("long", text.length > LONG_ADDRESS);
}

/**
 * Let an element follow a voice, `level` in dBFS: the style sheet reads `--voice`, 0 to 1.
 *
 * @param {HTMLElement} element
 * @param {number} level
 */
export function setVoice(element, level) {
  element.style.setProperty("--voice", Math.max(0, Math.min(1, 1 - level / QUIET_DBFS)).toFixed(3));
}

/**
 * Mark a field as wrong, and tie it to the element that says why; or take the mark off.
 *
 * @param {Element} field
 * @param {Element | null} problem has an id
 */
export function setProblem(field, problem) {
  if (problem) {
    field.setAttribute("aria-invalid", "true");
    field.setAttribute("aria-describedby", problem.id);
  } else {
    field.removeAttribute("aria-invalid");
    field.removeAttribute("aria-describedby");
  }
}

/**
 * Show or hide an element.
 *
 * @param {HTMLElement} element
 * @param {boolean} visible
 */
export function show(element, visible) {
  if (element.hidden === visible) element.hidden = !visible;
}

/**
 * Whether `target` takes what is typed for itself; a slider or a box leaves digits to the telephone.
 *
 * @param {EventTarget | null} target
 */
export function takesText(target) {
  return (
    target instanceof Element &&
    target.closest("input:not([type=range], [type=checkbox]), select, textarea") !== null
  );
}

/** A custom element that is built once, when it is given its phone, and updated on changes while it is shown. */
export class Part extends HTMLElement {
  /** @type {Phone | null} */
  #phone = null;

  /** @returns {Phone} */
  get phone() {
    return /** @type {Phone} */ (this.#phone);
  }

  set phone(phone) {
    this.#phone = phone;
    this.build();
    if (this.isConnected) this.#listen();
  }

  connectedCallback() {
    this.#listen();
  }

  /** An element that is not shown hears nothing, so that one that is thrown away leaves nothing behind. */
  disconnectedCallback() {
    this.#phone?.removeEventListener("change", this.#onChange);
  }

  #onChange = () => this.refresh();

  #listen() {
    this.#phone?.addEventListener("change", this.#onChange);
    this.refresh();
  }

  refresh() {
    if (this.#phone && this.isConnected) this.update();
  }

  build() {}

  update() {}

  /** Called when the element comes into view, to put the focus where it belongs. */
  arrive() {}
}
