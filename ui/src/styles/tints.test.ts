import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { expect, it } from "vitest";
import { tintOf } from "../state/select";
import { SELF_MEMBER } from "../video/header";

const css = readFileSync(resolve(import.meta.dirname, "base.css"), "utf8");
const tints = [...css.matchAll(/\.tint-(\d) \{\s+--tint: #([0-9a-f]{6});/g)];
/** Of initials, in both themes. */
const WHITE = 1;
/** For text of any size, WCAG 2.2, 1.4.3. */
const AA = 4.5;

/** WCAG 2.2: relative luminance, 0 (black) to 1 (white). */
function luminance(hex: string): number {
  const [r = 0, g = 0, b = 0] = [0, 2, 4].map((at) => {
    const value = Number.parseInt(hex.slice(at, at + 2), 16) / 255;
    return value <= 0.040_45 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

it("gives every person a colour on which their initials can be read", () => {
  const contrast = new Map(
    tints.map(([, number, hex = ""]) => [number, (WHITE + 0.05) / (luminance(hex) + 0.05)]),
  );
  const people = [SELF_MEMBER, ...Array.from({ length: 5_000 }, (_, at) => at * 859_433)];
  for (const member of people) {
    expect(contrast.get(String(tintOf(member)))).toBeGreaterThanOrEqual(AA);
  }
});

it("uses all colours about alike, so that neighbours are told apart", () => {
  const seen = Array.from({ length: 8 }, () => 0);
  for (let member = 1; member <= 400; member += 1) {
    const tint = tintOf(member);
    seen[tint] = (seen[tint] ?? 0) + 1;
  }
  expect(Math.min(...seen)).toBeGreaterThan(30);
});
