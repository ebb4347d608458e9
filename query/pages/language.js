// The query language, as far as a page needs it: where its words are, and how a filter is added. What a query means, and
// whether it is right, the server says.

/**
 * @typedef {object} Token
 * @property {"space" | "field" | "value" | "word" | "string" | "regex" | "keyword" | "operator" | "paren" | "pipe" | "step" | "function" | "number" | "name"} type
 * @property {string} text
 * @property {number} start
 * @property {number} end
 */

const STRING = /"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?/suy;
const REGEX = /\/(?:[^/\\\n]|\\.)+\/(?=[\s()|]|$)/uy;
const SPACE = /\s+/uy;
const KEYWORD = /(?:AND|OR|NOT|TO)(?=[\s()|"']|$)/uy;
const MINUS = /-(?=[^\s)|])/uy;
const FIELD = /(?:[\p{L}_@][\p{L}\p{N}_.@/#$-]*|"(?:[^"\\]|\\.)+"|'(?:[^'\\]|\\.)+'):(?=\S|$)/suy;
const COMPARE = /[<>]=?|!=|==?/uy;
const RANGE = /[[{][^\]}|]*[\]}]?/uy;
const BARE = /[^\s()|"']+/uy;
const NAME = /[\p{L}_@][\p{L}\p{N}_.@/#$-]*/uy;
const NUMBER = /-?\d+(?:\.\d+)?[\p{L}µ]*/uy;
const PIPE_KEYWORD = /^(?:by|as|from|and|or|not|asc|desc)$/i;
const FILTER_FORMS = /** @type {[RegExp, Token["type"]][]} */ ([[KEYWORD, "keyword"], [MINUS, "keyword"], [FIELD, "field"], [STRING, "string"], [REGEX, "regex"], [BARE, "word"]]);
const VALUE_FORMS = /** @type {[RegExp, Token["type"]][]} */ ([[COMPARE, "operator"], [RANGE, "value"], [STRING, "value"], [REGEX, "regex"], [BARE, "value"]]);
const GROUP_FORMS = /** @type {[RegExp, Token["type"]][]} */ ([[KEYWORD, "keyword"], ...VALUE_FORMS]);
const STEP_FORMS = /** @type {[RegExp, Token["type"]][]} */ ([[STRING, "string"], [NAME, "name"], [NUMBER, "number"], [COMPARE, "operator"], [/[^\s()|]/uy, "operator"]]);

/**
 * The tokens of a query, one after the other, all of its text.
 * @param {string} query
 * @returns {Token[]}
 */
export function tokenize(query) {
  /** @type {Token[]} */
  const tokens = [];
  let at = 0;
  let depth = 0;
  let group = 0; // the depth of the brackets that hold a field's values
  let piped = false;
  /** @param {Token["type"]} type @param {string} text */
  const take = (type, text) => {
    tokens.push({ type, text, start: at, end: at + text.length });
    at += text.length;
  };
  while (at < query.length) {
    const space = matchAt(SPACE, query, at);
    const before = tokens.at(-1);
    if (space) take("space", space);
    else if (query[at] === "|") {
      piped = true;
      depth = group = 0;
      take("pipe", "|");
    } else if (query[at] === "(" || query[at] === ")") {
      if (query[at] === "(") {
        depth += 1;
        if (!piped && before?.type === "field") group = depth;
      } else {
        if (group === depth) group = 0;
        depth = Math.max(0, depth - 1);
      }
      take("paren", query[at] ?? "");
    } else {
      const isValue = before?.type === "field" || (before?.type === "operator" && !piped);
      const forms = piped ? STEP_FORMS : group ? GROUP_FORMS : isValue ? VALUE_FORMS : FILTER_FORMS;
      const form = forms.find(([pattern]) => matchAt(pattern, query, at));
      const text = form ? matchAt(form[0], query, at) : (query[at] ?? "");
      take(form ? stepType(form[1], text, tokens, query, at) : "operator", text);
    }
  }
  return tokens;
}

/**
 * A name behind a pipe is a step, before a bracket a function, and some are keywords.
 * @param {Token["type"]} type
 * @param {string} text
 * @param {Token[]} tokens
 * @param {string} query
 * @param {number} at
 * @returns {Token["type"]}
 */
function stepType(type, text, tokens, query, at) {
  if (type !== "name") return type;
  if (tokens.findLast((token) => token.type !== "space")?.type === "pipe") return "step";
  if (/^\s*\(/.test(query.slice(at + text.length))) return "function";
  return PIPE_KEYWORD.test(text) ? "keyword" : "name";
}

/**
 * @param {RegExp} pattern sticky
 * @param {string} text
 * @param {number} at
 */
function matchAt(pattern, text, at) {
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0] ?? "";
}

/**
 * A query as its filter and what follows it.
 * @param {string} query
 * @returns {{ filter: string, pipes: string }}
 */
export function split(query) {
  const pipe = tokenize(query).find((token) => token.type === "pipe");
  const at = pipe ? pipe.start : query.length;
  return { filter: query.slice(0, at).trim(), pipes: query.slice(at).trim() };
}

const EVENT_STEPS = /^(?:where|filter|extract|unpack)$/i;

/**
 * Do the pipes leave events, so that there is a histogram, and patterns, of them?
 * @param {string} query
 */
export function leavesEvents(query) {
  return tokenize(query).every((token) => token.type !== "step" || EVENT_STEPS.test(token.text));
}

/**
 * The fields whose values are the rows of a table, so that the events of each can be asked for.
 * @param {string} query
 * @returns {string[]}
 */
export function groupsOf(query) {
  const tokens = tokenize(query).filter((token) => token.type !== "space");
  const steps = tokens.filter((token) => token.type === "step");
  const at = tokens.findIndex((token) => token.type === "step");
  if (!/^(?:stats|top|rare|uniq)$/i.test(steps[0]?.text ?? "") || steps.slice(1).some((step) => !/^(?:sort|limit|where|filter)$/i.test(step.text))) return [];
  const end = tokens.findIndex((token, i) => i > at && token.type === "pipe");
  const behind = tokens.slice(at + 1, end < 0 ? tokens.length : end);
  const by = behind.findIndex((token) => token.type === "keyword" && token.text.toLowerCase() === "by");
  if (by < 0 && /^stats$/i.test(steps[0]?.text ?? "")) return [];
  return behind.slice(by + 1).filter((token) => token.type === "name" || token.type === "string").map((token) => (token.type === "string" ? unquote(token.text) : token.text));
}

const BARE_VALUE = /^[\p{L}\p{N}_.@#$%&+~^;?][\p{L}\p{N}_.@#$%&+~^;?/:,=<>!-]*$/u;
const BARE_NAME = /^[\p{L}_@][\p{L}\p{N}_.@/#$-]*$/u;
const WORDS = new Set(["AND", "OR", "NOT", "TO"]);

/** @param {string} text */
export const quote = (text) => `"${text.replace(/\\/g, "\\\\").replace(/"/g, '\\"')}"`;

/**
 * The term that finds the events with just this value.
 * @param {string} field
 * @param {string} value
 */
export function term(field, value) {
  const name = BARE_NAME.test(field) ? field : quote(field);
  if (field === "message") return `message:=${quote(value)}`;
  return `${name}:${BARE_VALUE.test(value) && !WORDS.has(value) ? value : quote(value)}`;
}

/**
 * The terms of a filter that stand beside one another, as they were typed.
 * @param {string} filter
 * @returns {string[]}
 */
export function terms(filter) {
  const found = [];
  let text = "";
  let depth = 0;
  for (const token of tokenize(filter)) {
    if (token.type === "paren") depth += token.text === "(" ? 1 : -1;
    if (token.type === "space" && depth === 0) {
      if (text) found.push(text);
      text = "";
    } else text += token.text;
  }
  return text ? [...found, text] : found;
}

/**
 * A query that asks for one more thing. What asked for the contrary goes; what is there already stays.
 * @param {string} query
 * @param {string} wanted
 * @param {boolean} [against] ask for events that do not meet it
 */
export function withTerm(query, wanted, against = false) {
  const { filter, pipes } = split(query);
  const added = against ? `-${wanted}` : wanted;
  const contrary = against ? [wanted] : [`-${wanted}`, `NOT ${wanted}`];
  const typed = whole(terms(filter));
  const parts = typed.includes("OR") ? [`(${filter})`] : typed.filter((part) => !contrary.includes(part) && part !== "*");
  if (!parts.includes(added)) parts.push(added);
  return [parts.join(" "), pipes].filter(Boolean).join(" ");
}

/** Terms each of which can be left out: NOT goes with what it is about, and AND says nothing. @param {string[]} parts */
function whole(parts) {
  const found = [];
  let not = "";
  for (const part of parts) {
    if (part === "NOT") not += "NOT ";
    else if (part !== "AND") {
      found.push(not + part);
      not = "";
    }
  }
  return found;
}

/**
 * The words and phrases that a filter looks for in messages, to mark them there.
 * @param {string} query
 * @returns {string[]}
 */
export function sought(query) {
  const found = [];
  let negated = false;
  for (const token of tokenize(query)) {
    if (token.type === "pipe") break;
    if (token.type === "keyword") negated = token.text === "-" || token.text === "NOT";
    else if (token.type === "word" || token.type === "string") {
      const text = token.type === "word" ? token.text : unquote(token.text);
      if (!negated) found.push(...text.split("*").filter((part) => part.length > 1));
      negated = false;
    } else if (token.type !== "space") negated = false;
  }
  return found;
}

/** @param {string} literal */
export const unquote = (literal) => literal.slice(1, literal.length > 1 && literal.at(-1) === literal[0] ? -1 : undefined).replace(/\\(["'\\])/g, "$1");
