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
  compare: "before",
  compareFrom: "",
  compareTo: "",
  show: "",
  other: "",
  mark: "",
};
const NAMES = /** @type {(keyof State)[]} */ (Object.keys(DEFAULTS));
/** What belongs to one view only, and is left behind with it. */
const OF_A_VIEW = /** @type {(keyof State)[]} */ (["open", "show", "other", "mark"]);

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
  const state = { ...before, ...left, ...changes };
  const said = new URLSearchParams();
  for (const name of NAMES) {
    const value = written(state[name]);
    if (value !== written(DEFAULTS[name])) said.set(name, value);
  }
  const text = said.toString();
  return text ? `/?${text}` : "/";
}

/** @param {State[keyof State]} value */
function written(value) {
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
