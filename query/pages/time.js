// Times: what the address says, what the axis shows, and how a moment is written down.

const DAY_MS = 86_400_000;
const UNIT_MS = /** @type {Record<string, number>} */ ({ ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: DAY_MS, w: 604_800_000 });
const RELATIVE = /^(?:now)?\s*(?:-\s*((?:\d+(?:ms|[smhdw]))+))?$/;
const TYPED = /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?)?\s*(Z|[+-]\d\d:?\d\d)?$/;

/** The ranges that are offered: what the address says, and what is shown. */
export const RANGES = /** @type {[string, string][]} */ ([
  ["now-5m", "5 minutes"],
  ["now-15m", "15 minutes"],
  ["now-1h", "1 hour"],
  ["now-6h", "6 hours"],
  ["now-1d", "1 day"],
  ["now-7d", "7 days"],
  ["now-30d", "30 days"],
  ["all", "all time"],
]);

/**
 * Milliseconds of "15m" or "1h30m"; NaN for anything else.
 * @param {string} text
 */
export function durationMs(text) {
  if (!/^(?:\d+(?:ms|[smhdw]))+$/.test(text)) return NaN;
  let total = 0;
  for (const [, n, unit] of text.matchAll(/(\d+)(ms|[smhdw])/g)) total += Number(n) * (UNIT_MS[unit ?? ""] ?? NaN);
  return total;
}

/**
 * The moment that a text names, in ms since 1970; null for none, NaN where it can't be read. Times without a zone are
 * in the zone that is shown.
 * @param {string} text
 * @param {boolean} utc
 * @param {number} [now]
 * @returns {number | null}
 */
export function moment(text, utc, now = Date.now()) {
  const given = text.trim();
  if (!given || given === "all") return null;
  const relative = RELATIVE.exec(given);
  if (relative) return relative[1] ? now - durationMs(relative[1]) : now;
  if (durationMs(given) > 0) return now - durationMs(given);
  const typed = TYPED.exec(given);
  if (!typed) return NaN;
  const [, year, month, day, hour, minute, second, fraction, zone] = typed;
  const clock = `${year}-${month}-${day}T${hour ?? "00"}:${minute ?? "00"}:${second ?? "00"}.${(fraction ?? "").padEnd(3, "0").slice(0, 3)}`;
  return Date.parse(clock + (zone ?? (utc ? "Z" : "")));
}

/** @param {number} ms */
export const rfc3339 = (ms) => new Date(ms).toISOString();

/**
 * Is it a time that counts from now, or none?
 * @param {string} text
 */
export const isRelative = (text) => text === "" || text === "all" || RELATIVE.test(text);

/** @param {number} n @param {number} [width] */
const pad = (n, width = 2) => String(n).padStart(width, "0");

/**
 * @param {Date} date
 * @param {boolean} utc
 */
function parts(date, utc) {
  return utc
    ? { year: date.getUTCFullYear(), month: date.getUTCMonth() + 1, day: date.getUTCDate(), hour: date.getUTCHours(), minute: date.getUTCMinutes(), second: date.getUTCSeconds() }
    : { year: date.getFullYear(), month: date.getMonth() + 1, day: date.getDate(), hour: date.getHours(), minute: date.getMinutes(), second: date.getSeconds() };
}

/**
 * A time of the API, which has nine digits, as a person reads it: "2026-11-29 10:32:07.123" with `digits` of the second.
 * @param {string} timestamp
 * @param {boolean} utc
 * @param {number} [digits]
 */
export function full(timestamp, utc, digits = 9) {
  return `${day(timestamp, utc)} ${clock(timestamp, utc, digits)}`;
}

/** @param {string} timestamp @param {boolean} utc */
export function day(timestamp, utc) {
  const at = parts(new Date(timestamp), utc);
  return `${pad(at.year, 4)}-${pad(at.month)}-${pad(at.day)}`;
}

/** @param {string} timestamp @param {boolean} utc @param {number} [digits] */
export function clock(timestamp, utc, digits = 3) {
  const at = parts(new Date(timestamp), utc);
  const fraction = /\.(\d+)/.exec(timestamp)?.[1] ?? "";
  return `${pad(at.hour)}:${pad(at.minute)}:${pad(at.second)}${digits ? `.${fraction.padEnd(digits, "0").slice(0, digits)}` : ""}`;
}

/**
 * "just now", "5m ago".
 * @param {string} timestamp
 * @param {number} [now]
 */
export function ago(timestamp, now = Date.now()) {
  const seconds = (now - Date.parse(timestamp)) / 1000;
  if (seconds < 0) return "ahead";
  if (seconds < 60) return `${Math.floor(seconds)}s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}h ago`;
  return `${Math.floor(seconds / 86_400)}d ago`;
}

/**
 * What an axis says at a moment, when its whole span is so long.
 * @param {number} ms
 * @param {number} span
 * @param {boolean} utc
 */
export function tick(ms, span, utc) {
  const text = rfc3339(ms);
  if (span > 3 * DAY_MS) return day(text, utc).slice(5);
  if (span > DAY_MS) return `${day(text, utc).slice(5)} ${clock(text, utc, 0).slice(0, 5)}`;
  return span > 600_000 ? clock(text, utc, 0).slice(0, 5) : clock(text, utc, span > 10_000 ? 0 : 3);
}

/**
 * How a range is called.
 * @param {string} from
 * @param {string} to
 * @param {boolean} utc
 */
export function rangeName(from, to, utc) {
  const offered = to === "" || to === "now" ? RANGES.find(([value]) => value === from) : undefined;
  if (offered) return offered[0] === "all" ? "All time" : `Last ${offered[1]}`;
  const relative = RELATIVE.exec(from)?.[1];
  if (relative && (to === "" || to === "now")) return `Last ${relative}`;
  const name = (/** @type {string} */ text, /** @type {string} */ none) => {
    if (text === "" || text === "all") return none;
    const at = moment(text, utc);
    return isRelative(text) || at === null || Number.isNaN(at) ? text : full(rfc3339(at), utc, 0);
  };
  return `${name(from, "start")} – ${name(to, "now")}`;
}
