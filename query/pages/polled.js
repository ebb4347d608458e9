// A question that is asked again and again: one at a time, and that it is not answered can be told.

import { asApiError, Latest } from "./api.js";

/** @import { ApiError } from "./api.js" */

const PATIENCE_MS = 6000;

/** @template T */
export class Polled {
  #work;
  #told;
  #asking = new Latest();
  #since = 0; // when the question was asked that is on its way
  /** @type {T | null} */
  value = null;
  /** @type {ApiError | null} */
  fault = null;

  /**
   * @param {(signal: AbortSignal) => Promise<T>} work
   * @param {() => void} told called when it was answered, or refused
   */
  constructor(work, told) {
    this.#work = work;
    this.#told = told;
  }

  /** Ask, unless the last question is still on its way; `anew`: which is given up then. */
  async ask(anew = false) {
    if (this.#since && !anew) return;
    const signal = this.#asking.next();
    this.#since = performance.now();
    try {
      const value = await this.#work(signal);
      if (signal.aborted) return;
      this.value = value;
      this.fault = null;
    } catch (error) {
      if (signal.aborted) return;
      this.fault = asApiError(error);
    }
    this.#since = 0;
    this.#told();
  }

  stop() {
    this.#asking.stop();
    this.#since = 0;
  }

  get isAsking() {
    return this.#since > 0;
  }

  /** Why there is no news; empty if there is. */
  get trouble() {
    const waited = this.#since ? performance.now() - this.#since : 0;
    if (waited > PATIENCE_MS) return `no answer for ${Math.round(waited / 1000)} s; it is waited for`;
    return this.fault ? `${this.fault.message}${this.fault.hint ? ` — ${this.fault.hint}` : ""}` : "";
  }
}
