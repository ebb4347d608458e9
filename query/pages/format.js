// Numbers, sizes and durations for people.

const whole = new Intl.NumberFormat("en-US");
const UNITS = ["", "k", "M", "G", "T"];

/** @param {number} n */
export const count = (n) => whole.format(n);

/**
 * Three digits and a unit: 12.3k.
 * @param {number} n
 */
export function short(n) {
  let power = 0;
  while (Math.abs(n) >= 999.5 && power < UNITS.length - 1) {
    n /= 1000;
    power += 1;
  }
  return (power === 0 && Number.isInteger(n) ? String(n) : threeDigits(n)) + UNITS[power];
}

/** @param {number} n */
function threeDigits(n) {
  return n === 0 ? "0" : n.toFixed(Math.abs(n) >= 99.95 ? 0 : Math.abs(n) >= 9.995 ? 1 : 2);
}

/** @param {number} n bytes */
export function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let power = 0;
  while (n >= 1023.5 && power < units.length - 1) {
    n /= 1024;
    power += 1;
  }
  return `${power === 0 ? n : threeDigits(n)} ${units[power]}`;
}

/** @param {number} part between 0 and 1 */
export function percent(part) {
  const hundredths = part * 100;
  if (hundredths > 0 && hundredths < 0.01) return "<0.01%";
  return `${hundredths >= 9.95 ? hundredths.toFixed(0) : hundredths >= 0.995 ? hundredths.toFixed(1) : hundredths.toFixed(2)}%`;
}

/** @param {number} seconds */
export function duration(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${threeDigits(seconds)} s`;
  const steps = /** @type {[number, string][]} */ ([[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]]);
  const at = steps.findIndex(([size]) => seconds >= size);
  const parts = [];
  let left = Math.round(seconds);
  for (const [size, name] of steps.slice(at, at + 2)) {
    const n = Math.floor(left / size);
    left -= n * size;
    if (n) parts.push(`${n}${name}`);
  }
  return parts.join(" ");
}

/**
 * "1 event", "2 events".
 * @param {number} n
 * @param {string} noun
 */
export const plural = (n, noun) => `${count(n)} ${noun}${n === 1 ? "" : "s"}`;
