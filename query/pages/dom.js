// Elements. Text only ever becomes text nodes: there is no way from here to markup.

import { harmless } from "./steering.js";

const SAID = ["title", "aria-label"];

/** @typedef {Node | string | number | null | undefined | false} Child */
/**
 * @typedef {Record<string, string | number | boolean | null | undefined>} Attributes
 * @typedef {Record<string, (event: any) => void>} Handlers
 */

/**
 * An element with attributes and children. Attributes that are false, null or undefined are left out.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} name
 * @param {Attributes} [attributes]
 * @param {...(Child | Child[])} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  setAttributes(made, attributes);
  append(made, children);
  return made;
}

/**
 * A button that says what it does. One with a text is called by it; one with a drawing by its hint.
 * @param {string} label its hint
 * @param {Child | Child[]} shown
 * @param {(event: MouseEvent) => void} act
 * @param {Attributes} [attributes]
 */
export function button(label, shown, act, attributes = {}) {
  const name = shown instanceof SVGElement ? label : null;
  const made = h("button", { type: "button", "aria-label": name, title: label, ...attributes }, shown);
  made.addEventListener("click", act);
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element of a drawing.
 * @template {keyof SVGElementTagNameMap} K
 * @param {K} name
 * @param {Attributes} [attributes]
 * @param {...(Child | Child[])} children
 * @returns {SVGElementTagNameMap[K]}
 */
export function s(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  setAttributes(made, attributes);
  append(made, children);
  return made;
}

/**
 * @param {Element} element
 * @param {Attributes} attributes
 */
function setAttributes(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    const text = value === true ? "" : String(value);
    element.setAttribute(name, SAID.includes(name) ? harmless(text) : text);
  }
}

/**
 * @param {Element} element
 * @param {(Child | Child[])[]} children
 */
function append(element, children) {
  for (const child of children.flat()) {
    if (child === null || child === undefined || child === false) continue;
    element.append(typeof child === "number" ? String(child) : child);
  }
}

/**
 * The element of an id that index.html has.
 * @template {HTMLElement} E
 * @param {string} id
 * @param {new () => E} kind
 * @returns {E}
 */
export function byId(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`index.html lacks ${id}`);
  return found;
}

/**
 * A style that not every view needs is there once this is.
 * @param {string} name
 * @returns {Promise<void>}
 */
export function styled(name) {
  const href = `/pages/${name}`;
  if (document.querySelector(`link[href="${href}"]`)) return Promise.resolve();
  return new Promise((done, fail) => {
    const link = h("link", { rel: "stylesheet", href });
    link.addEventListener("load", () => done());
    link.addEventListener("error", () => {
      link.remove();
      fail(new Error(`cannot load ${name}`));
    });
    document.head.append(link);
  });
}

/**
 * Calls at most once a frame, with what was said last.
 * @param {() => void} work
 * @returns {() => void}
 */
export function onceAFrame(work) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      work();
    });
  };
}
