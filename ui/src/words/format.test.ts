import { expect, it } from "vitest";
import { countChars, formatBytes, formatDuration, formatRate } from "./format";

const plain = (text: string) => text.replaceAll("\u00a0", " ");

it.each([
  [0, "0 B"],
  [-5, "0 B"],
  [999, "999 B"],
  [1000, "1.0 kB"],
  [1449, "1.4 kB"],
  [99_900, "99.9 kB"],
  [99_960, "100 kB"],
  [999_499, "999 kB"],
  [999_500, "1.0 MB"],
  [734_003_200, "734 MB"],
  [48_318_382_080, "48.3 GB"],
  [17_592_186_044_416, "17.6 TB"],
  [5e15, "5000 TB"],
])("%d bytes are %s", (bytes, text) => {
  expect(plain(formatBytes(bytes))).toBe(text);
});

it.each([
  [0, "1 s"],
  [0.4, "1 s"],
  [59, "59 s"],
  [60, "1 min"],
  [89, "1 min"],
  [3569, "59 min"],
  [3570, "1 h"],
  [7500, "2 h 5 min"],
])("%d seconds are %s", (seconds, text) => {
  expect(plain(formatDuration(seconds))).toBe(text);
});

it("keeps a number and its unit on one line", () => {
  expect(formatRate(1_240_000)).toBe("1.2\u00a0MB/s");
});

it("counts characters as the engine does", () => {
  expect(countChars("añ🌿")).toBe(3);
});
