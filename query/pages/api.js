// Questions to the API, and what is said where there is no answer.

/** What went wrong, in words for the user. `position`: where in the query, from 1. */
export class ApiError extends Error {
  /**
   * @param {string} message
   * @param {string} [hint]
   * @param {{ line: number, column: number } | null} [position]
   * @param {number} [status]
   */
  constructor(message, hint = "", position = null, status = 0) {
    super(message);
    this.hint = hint;
    this.position = position;
    this.status = status;
  }
}

/** @typedef {Record<string, string | number | null | undefined>} Parameters */

/**
 * @param {string} path
 * @param {Parameters} parameters those that are empty are left out
 */
export function urlOf(path, parameters) {
  const said = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== "" && value !== null && value !== undefined) said.set(name, String(value));
  }
  const text = said.toString();
  return text ? `${path}?${text}` : path;
}

/**
 * One answer. Raises ApiError; an AbortError where the signal said so.
 * @template T
 * @param {string} path
 * @param {Parameters} [parameters]
 * @param {AbortSignal} [signal]
 * @returns {Promise<T>}
 */
export async function ask(path, parameters = {}, signal) {
  return answerOf(await reach(urlOf(path, parameters), { signal: signal ?? null }));
}

/**
 * The same, with what is said in the body.
 * @template T
 * @param {string} path
 * @param {object} said
 * @param {AbortSignal} [signal]
 * @returns {Promise<T>}
 */
export async function post(path, said, signal) {
  return send("POST", path, said, signal);
}

/**
 * @template T
 * @param {"POST" | "PUT" | "DELETE"} method
 * @param {string} path
 * @param {object} [said] the body
 * @param {AbortSignal} [signal]
 * @returns {Promise<T>}
 */
export async function send(method, path, said, signal) {
  const body = said && { headers: { "content-type": "application/json" }, body: JSON.stringify(said) };
  return answerOf(await reach(path, { method, ...body, signal: signal ?? null }));
}

/**
 * What a path answers as text.
 * @param {string} path
 * @param {AbortSignal} signal
 */
export async function text(path, signal) {
  const answer = await reach(path, { signal });
  if (!answer.ok) throw await errorOf(answer);
  return answer.text();
}

/**
 * @param {string} url
 * @param {RequestInit} how
 */
async function reach(url, how) {
  try {
    return await fetch(url, { ...how, credentials: "same-origin" });
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new ApiError("cannot reach the server", "see whether it runs, and try again");
  }
}

/** @param {Response} answer */
async function answerOf(answer) {
  if (!answer.ok) throw await errorOf(answer);
  return answer.json();
}

/**
 * @param {Response} answer
 * @returns {Promise<ApiError>}
 */
export async function errorOf(answer) {
  if (answer.status === 401) {
    document.dispatchEvent(new Event("signedout"));
    return new ApiError("you are not signed in", "sign in, or give a key, and try again", null, 401);
  }
  try {
    const { error } = await answer.json();
    const hint = error.hint || (answer.status === 403 ? "ask whoever runs the server" : "");
    return new ApiError(error.message, hint, error.position ?? null, answer.status);
  } catch {
    return new ApiError(`the server answered ${answer.status}`, "try again in a moment", null, answer.status);
  }
}

/** @param {unknown} error */
export const isAbort = (error) => error instanceof DOMException && error.name === "AbortError";

/** @param {unknown} error @returns {ApiError} */
export const asApiError = (error) => (error instanceof ApiError ? error : new ApiError(`the page has a fault: ${error}`, "load it again"));

/**
 * The range and the query of a state, as the API takes them.
 * @param {import("./types").State} state
 * @returns {Record<string, string>}
 */
export function asked(state) {
  return { q: state.q, from: state.from === "all" ? "" : state.from, to: state.to, namespace: state.namespace };
}

/** Questions of which only the last matters: each begins by ending the one before. */
export class Latest {
  /** @type {AbortController | null} */
  #now = null;

  /** A signal for the next question. */
  next() {
    this.#now?.abort();
    this.#now = new AbortController();
    return this.#now.signal;
  }

  stop() {
    this.#now?.abort();
    this.#now = null;
  }
}
