// A table of numbers by time, as a histogram shows it.

/** @import { Bucket, Found, Histogram } from "./types" */

const MOST = 2000; // bars

/**
 * The picture of a table whose first column is a time, with one column of numbers and at most one that tells groups apart;
 * null for any other.
 * @param {Found} found
 * @returns {{ histogram: Histogram, by: string, noun: string } | null}
 */
export function pictureOf({ columns = [], rows = [], stats }) {
  const numbers = columns.flatMap((column, i) => (column.type === "number" ? [i] : []));
  const groups = columns.flatMap((column, i) => (i && column.type === "string" ? [i] : []));
  const [number] = numbers;
  if (columns[0]?.type !== "time" || number === undefined || numbers.length > 1 || groups.length > 1) return null;
  const times = [...new Set(rows.map((row) => Date.parse(String(row[0]))))].filter((at) => !Number.isNaN(at)).sort((a, b) => a - b);
  const steps = times.slice(1).map((at, i) => at - (times[i] ?? at));
  const step = Math.min(...steps);
  const [low, high] = [times[0], times.at(-1)];
  if (low === undefined || high === undefined || !steps.length || (high - low) / step > MOST || steps.some((one) => one % step)) return null;
  /** @type {Bucket[]} */
  const buckets = [];
  for (let at = low; at <= high; at += step) buckets.push({ start: new Date(at).toISOString(), count: 0, groups: Object.create(null) }); // a group may be called as what every object has
  const group = groups[0];
  for (const row of rows) {
    const bucket = buckets[(Date.parse(String(row[0])) - low) / step];
    const n = Number(row[number] ?? 0);
    const name = group === undefined ? "" : String(row[group] ?? "");
    if (!bucket?.groups || !(n >= 0)) continue;
    bucket.count += n;
    bucket.groups[name] = (bucket.groups[name] ?? 0) + n;
  }
  const by = group === undefined ? "level" : (columns[group]?.name ?? "");
  return { histogram: { buckets, interval_ms: step, stats }, by, noun: columns[number]?.name ?? "" };
}
