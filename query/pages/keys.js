// Single keys: whether one is meant for the page. They can be turned off: some people's voices and hands press keys unasked.

const OFF = "neve.keys-off";

/** @returns {boolean} */
export function keysOff() {
  try {
    return localStorage.getItem(OFF) === "1";
  } catch {
    return false; // barred
  }
}

/** @param {boolean} off */
export function turnKeys(off) {
  try {
    localStorage.setItem(OFF, off ? "1" : "0");
  } catch {
    // barred: it holds until the page is loaded again
  }
}

/**
 * Is a key meant for what has the focus?
 * @param {KeyboardEvent} event
 */
export function isTyped(event) {
  const at = event.target;
  return at instanceof HTMLElement && (at.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(at.tagName));
}
