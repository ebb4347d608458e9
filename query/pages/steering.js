// What would steer a screen: control characters and sequences, and what turns the direction of a text or hides in it.

/** Tab and line break are not among them. */
export const STEERING = /\x1b\[[0-9;:?]*[ -/]*[@-~]|[\0-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]/gu;
const NAMES = /** @type {Record<string, string>} */ ({ "\0": "NUL", "\x1b": "ESC", "\r": "CR", "\x07": "BEL", "\b": "BS", "\x0c": "FF", "\x7f": "DEL" });

/** @param {string} steering */
export const codeOf = (steering) => `U+${(steering.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}`;

/** What is shown in its place. @param {string} steering */
export const nameOf = (steering) => NAMES[steering[0] ?? ""] ?? codeOf(steering);

/** A text for hints and for those who hear the page, where there are no signs. @param {string} text */
export const harmless = (text) => text.replace(STEERING, nameOf);
