/**
 * Numbers and times as people read them, in the language in use. Decimal units, as file managers
 * count. A number and its unit stay on one line.
 */

import { spoken } from "./language.svelte";

/** No-break space. */
const SPACE = "\u00a0";

/** Making one costs a hundred times what using it does. A few languages by two kinds of digits. */
const numbers = new Map<string, Intl.NumberFormat>();

/** A number with so many digits behind the point, which is what the language makes of it. */
function formatNumber(value: number, digits: number): string {
  const { tag } = spoken.locale;
  const key = `${tag} ${String(digits)}`;
  const known = numbers.get(key);
  if (known) return known.format(value);
  const format = new Intl.NumberFormat(tag, {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
    useGrouping: false,
  });
  numbers.set(key, format);
  return format.format(value);
}

const UNITS = ["B", "kB", "MB", "GB", "TB"] as const;

/** `1.4 MB`: three digits at most, none behind the point from 100 on or for bytes. */
export function formatBytes(bytes: number): string {
  let value = Math.max(0, bytes);
  let unit = 0;
  // 999.5 would round to a thousand.
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : 1;
  return `${formatNumber(value, digits)}${SPACE}${UNITS[unit] ?? "B"}`;
}

/** `1.4 MB/s`. */
export function formatRate(bytes_per_s: number): string {
  return `${formatBytes(bytes_per_s)}/s`;
}

const BIT_UNITS = ["bit/s", "kbit/s", "Mbit/s", "Gbit/s"] as const;

/** `1.4 Mbit/s`: whole kilobits, a tenth of a megabit. */
export function formatBitrate(bits_per_s: number): string {
  let value = Math.max(0, bits_per_s);
  let unit = 0;
  while (value >= 999.5 && unit < BIT_UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit < 2 || value >= 99.95 ? 0 : 1;
  return `${formatNumber(value, digits)}${SPACE}${BIT_UNITS[unit] ?? "bit/s"}`;
}

/** `0.4 %`, `12 %`: a share of 0 to 1. */
export function formatShare(share: number): string {
  const percent = Math.min(1, Math.max(0, share)) * 100;
  const digits = percent < 0.05 || percent >= 9.95 ? 0 : 1;
  return `${formatNumber(percent, digits)}${SPACE}%`;
}

/** `40 ms`. */
export function formatMs(ms: number): string {
  return `${formatNumber(Math.max(0, ms), 0)}${SPACE}ms`;
}

/** `45 s`, `3 min`, `2 h 5 min`: as exact as an estimate deserves. */
export function formatDuration(seconds: number): string {
  const whole = Math.max(1, Math.round(seconds));
  if (whole < 60) return `${String(whole)}${SPACE}s`;
  const minutes = Math.round(whole / 60);
  if (minutes < 60) return `${String(minutes)}${SPACE}min`;
  const hours = Math.floor(minutes / 60);
  const rest = minutes % 60;
  const full = `${String(hours)}${SPACE}h`;
  return rest === 0 ? full : `${full} ${String(rest)}${SPACE}min`;
}

/** The time of day. */
export function formatTime(at_ms: number): string {
  return new Intl.DateTimeFormat(spoken.locale.tag, { timeStyle: "short" }).format(at_ms);
}

/** When it was: `15:04` today, `yesterday, 15:04`, and the day before that. */
export function formatWhen(at_ms: number, now_ms: number): string {
  const { tag } = spoken.locale;
  const midnight = (ms: number) => new Date(ms).setHours(0, 0, 0, 0);
  // A day has 23 to 25 hours.
  const days = Math.round((midnight(now_ms) - midnight(at_ms)) / 86_400_000);
  if (days === 0) return formatTime(at_ms);
  if (days === 1) {
    const yesterday = new Intl.RelativeTimeFormat(tag, { numeric: "auto" }).format(-1, "day");
    return `${yesterday}, ${formatTime(at_ms)}`;
  }
  return new Intl.DateTimeFormat(tag, { dateStyle: "medium" }).format(at_ms);
}

/** Characters as the engine counts them: code points. */
export function countChars(text: string): number {
  return Array.from(text).length;
}
