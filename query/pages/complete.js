// What may stand at a place of a query: fields, their values, steps and functions.

import { ask, asked } from "./api.js";
import { tokenize, term, unquote } from "./language.js";
import { moment, rfc3339 } from "./time.js";

/** @import { Field, State, Values } from "./types" */
/** @import { Token } from "./language.js" */
/**
 * @typedef {{ text: string, shown: string, note: string }} Item
 * @typedef {{ start: number, end: number, items: Item[] }} Offer
 */

const STEPS = /** @type {[string, string][]} */ ([
  ["stats count() by", "count, sum, percentiles …"],
  ["top 10", "most common values"],
  ["rare 10", "least common values"],
  ["uniq", "all values"],
  ["histogram(5m) by", "counts by time"],
  ["patterns", "shapes of messages"],
  ["where", "keep rows that meet a condition"],
  ["sort -", "order the rows"],
  ["fields", "keep these columns"],
  ["limit 100", "the first rows"],
  ["extract", "fields out of a text"],
  ["unpack json", "all fields of a message"],
  ["unpack logfmt", "all fields of a message"],
]);
const FUNCTIONS = ["count()", "count(", "sum(", "avg(", "min(", "max(", "p50(", "p95(", "p99(", "quantile(", "rate()", "uniq(", "any(", "first(", "last("];
const LEVELS = [">=warn", ">=error", "trace", "debug", "info", "notice", "warn", "error", "critical", "fatal"];
const MOST = 12;
const KEEP_MS = 60_000;
const NEAR_MS = 300_000;

/** @type {Map<string, { at: number, answer: Promise<any> }>} */
const kept = new Map();

/**
 * An answer that may be a minute old.
 * @template T
 * @param {string} path
 * @param {State} state
 * @param {number} limit
 * @returns {Promise<T>}
 */
function cached(path, state, limit) {
  const { from, to, namespace } = asked(state);
  const key = [path, from, to, namespace].join("\n");
  const found = kept.get(key);
  if (found && Date.now() - found.at < KEEP_MS) return found.answer;
  const answer = ask(path, { from, to, namespace, limit });
  kept.set(key, { at: Date.now(), answer });
  answer.catch(() => kept.delete(key));
  return /** @type {Promise<T>} */ (answer);
}

/**
 * @param {string} query
 * @param {number} caret
 * @param {State} state
 * @returns {Promise<Offer>}
 */
export async function offer(query, caret, state) {
  const tokens = tokenize(query.slice(0, caret)).filter((token) => token.type !== "space" || token.end === caret);
  const last = tokens.at(-1);
  const under = last && last.type !== "space" && last.end === caret ? last : undefined;
  if (tokens.some((token) => token.type === "pipe")) return inPipe(tokens, under, caret, state);
  const field = under?.type === "field" ? under : fieldOf(tokens);
  if (field && under) return values(field, under, caret, state);
  return names(under, caret, state, ":");
}

/**
 * The field whose value the last token is.
 * @param {Token[]} tokens
 */
function fieldOf(tokens) {
  const last = tokens.at(-1);
  if (!last || !["value", "operator", "paren", "regex"].includes(last.type)) return undefined;
  for (const token of tokens.toReversed()) {
    if (token.type === "field") return token;
    if (token.type === "word" || token.type === "string" || (token.type === "paren" && token.text === ")")) return undefined;
  }
  return undefined;
}

/**
 * @param {Token[]} tokens
 * @param {Token | undefined} under
 * @param {number} caret
 * @param {State} state
 * @returns {Promise<Offer>}
 */
async function inPipe(tokens, under, caret, state) {
  const step = tokens.findLast((token) => token.type === "step" || token.type === "pipe");
  if (!step || step.type === "pipe" || under === step) {
    const typed = under === step && step?.type === "step" ? step.text : "";
    const items = STEPS.filter(([name]) => name.startsWith(typed.toLowerCase())).map(([text, note]) => ({ text: `${text} `, shown: text, note }));
    return { start: caret - typed.length, end: caret, items };
  }
  const isStats = step.text.toLowerCase() === "stats";
  const grouped = tokens.slice(tokens.indexOf(step)).some((token) => token.text.toLowerCase() === "by");
  const open = tokens.findLast((token) => token.type === "paren")?.text === "(";
  if (isStats && !grouped && !open) {
    const typed = under?.type === "name" ? under.text : "";
    const items = FUNCTIONS.filter((name) => name.startsWith(typed)).map((text) => ({ text, shown: text, note: "function" }));
    return { start: caret - typed.length, end: caret, items };
  }
  return names(under?.type === "name" ? under : undefined, caret, state, "");
}

/**
 * @param {Token | undefined} under
 * @param {number} caret
 * @param {State} state
 * @param {string} behind what follows a name
 * @returns {Promise<Offer>}
 */
async function names(under, caret, state, behind) {
  const typed = under?.text ?? "";
  if (under && !["word", "name"].includes(under.type)) return { start: caret, end: caret, items: [] };
  const items = best(await fields(state), (field) => field.name, typed).map((field) => {
    const name = term(field.name, "").slice(0, -3);
    return { text: name + behind, shown: field.name, note: field.count.toLocaleString("en-US") };
  });
  if (behind && typed && /^[A-Z]+$/.test(typed)) {
    for (const word of ["AND", "OR", "NOT"]) if (word.startsWith(typed)) items.unshift({ text: `${word} `, shown: word, note: "logic" });
  }
  return { start: caret - typed.length, end: caret, items };
}

/**
 * The fields of the newest events of a range; of all only where that says nothing. All of a long range take their time,
 * which the search that is being typed would wait for.
 * @param {State} state
 * @returns {Promise<Field[]>}
 */
async function fields(state) {
  const now = Date.now();
  const high = moment(state.to, state.utc, now) ?? now;
  if (high - (moment(state.from, state.utc, now) ?? high) > NEAR_MS) {
    const near = { ...state, from: rfc3339(Math.floor((high - NEAR_MS) / 60_000) * 60_000) };
    const found = /** @type {{ fields: Field[] }} */ (await cached("/api/v1/fields", near, 1000)).fields;
    if (found.length) return found;
  }
  return /** @type {{ fields: Field[] }} */ (await cached("/api/v1/fields", state, 1000)).fields;
}

/**
 * @param {Token} field
 * @param {Token} under
 * @param {number} caret
 * @param {State} state
 * @returns {Promise<Offer>}
 */
async function values(field, under, caret, state) {
  const bare = field.text.slice(0, -1);
  const name = /^["']/.test(bare) ? unquote(bare) : bare;
  const fresh = under === field || under.type === "operator" || under.type === "paren";
  const typed = fresh ? "" : under.text;
  const start = caret - typed.length;
  if (name === "level") {
    const items = LEVELS.filter((level) => level.startsWith(typed) && !(level.startsWith(">") && under.type === "operator"));
    return { start, end: caret, items: items.map((text) => ({ text: `${text} `, shown: text, note: "level" })) };
  }
  if (["timestamp", "_time", "message"].includes(name)) return { start, end: caret, items: [] };
  const found = /** @type {Values} */ (await cached(`/api/v1/fields/${encodeURIComponent(name)}/values`, state, 200));
  const sought = typed.startsWith('"') ? unquote(typed) : typed;
  const items = best(found.values, (one) => one.value, sought).filter((one) => one.value.length <= 200);
  return {
    start,
    end: caret,
    items: items.map((one) => ({ text: `${term("v", one.value).slice(2)} `, shown: one.value, note: one.count.toLocaleString("en-US") })),
  };
}

/**
 * Those that begin with what was typed, then those that hold it.
 * @template T
 * @param {T[]} all
 * @param {(one: T) => string} nameOf
 * @param {string} typed
 */
function best(all, nameOf, typed) {
  const sought = typed.toLowerCase();
  const first = all.filter((one) => nameOf(one).toLowerCase().startsWith(sought) && nameOf(one) !== typed);
  const then = sought ? all.filter((one) => nameOf(one).toLowerCase().indexOf(sought) > 0) : [];
  return [...first, ...then].slice(0, MOST);
}
