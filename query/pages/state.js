// The address is the state: everything that a view shows can be sent to somebody as a link.

/** @import { State } from "./types" */

/** @type {State} */
const DEFAULTS = {
  view: "explore",
  q: "",
  from: "now-15m",
  to: "",
  namespace: "",
  order: "newest",
  by: "level",
  columns: ["service"],
  facets: ["level", "service"],
  side: matchMedia("(min-width: 900px)").matches,
  wrap: false,
  raw: false,
  utc: false,
  open: "",
  tab: "",
  sort: "",
  compare: "before",
  compareFrom: "",
  compareTo: "",
  show: "",
  other: "",
  mark: "",
  saved: "",
};
const NAMES = /** @type {(keyof State)[]} */ (Object.keys(DEFAULTS));
/** What belongs to one view only, and is left behind with it. */
const OF_A_VIEW = /** @type {(keyof State)[]} */ (["open", "tab", "sort", "show", "other", "mark"]);

/** @type {((state: State, fresh: boolean) => void)[]} */
const listeners = [];

/** @returns {State} */
export function read() {
  const given = new URLSearchParams(location.search);
  const state = { ...DEFAULTS, columns: [...DEFAULTS.columns], facets: [...DEFAULTS.facets] };
  for (const name of NAMES) {
    const text = given.get(name);
    if (text === null) continue;
    const kind = DEFAULTS[name];
    const value = typeof kind === "boolean" ? text === "1" : Array.isArray(kind) ? text.split(",").filter(Boolean).map(decodeURIComponent) : text;
    Object.assign(state, { [name]: value });
  }
  return state;
}

/**
 * The address of the present state with some changes.
 * @param {Partial<State>} changes
 */
export function address(changes) {
  const before = read();
  const left = changes.view && changes.view !== before.view ? Object.fromEntries(OF_A_VIEW.map((name) => [name, DEFAULTS[name]])) : {};
  return addressOf(texts({ ...before, ...left, ...changes }));
}

/**
 * What an address says of a state: texts by name. What is as always is left out.
 * @param {State} state
 * @returns {Record<string, string>}
 */
export function texts(state) {
  /** @type {Record<string, string>} */
  const said = {};
  for (const name of NAMES) {
    const value = written(state[name]);
    if (value !== written(DEFAULTS[name])) said[name] = value;
  }
  return said;
}

/**
 * The address that says so.
 * @param {Record<string, string>} said
 */
export function addressOf(said) {
  const text = new URLSearchParams(said).toString();
  return text ? `/?${text}` : "/";
}

/** How a value is written in an address. @param {State[keyof State]} value */
export function written(value) {
  if (typeof value === "boolean") return value ? "1" : "0";
  return Array.isArray(value) ? value.map(encodeURIComponent).join(",") : value;
}

/**
 * Go to a state. `replace`: it is no step that one goes back over.
 * @param {Partial<State>} changes
 * @param {{ replace?: boolean }} [how]
 */
export function go(changes, { replace = false } = {}) {
  const to = address(changes);
  if (replace) history.replaceState(null, "", to);
  else history.pushState(null, "", to);
  tell();
}

/** `fresh`: ask again, also what is shown already. @param {(state: State, fresh: boolean) => void} listener */
export function onChange(listener) {
  listeners.push(listener);
}

/** Tell what the address says. @param {boolean} [fresh] */
export function tell(fresh = false) {
  const state = read();
  for (const listener of listeners) listener(state, fresh);
}

addEventListener("popstate", () => tell());
