import { expect, it } from "vitest";
import { i420ToRgba, rgbaToI420 } from "./yuv";

it.each([
  ["black", [16, 128, 128], [0, 0, 0]],
  ["white", [235, 128, 128], [255, 255, 255]],
  ["red", [82, 90, 240], [255, 0, 0]],
  ["green", [145, 54, 34], [0, 255, 0]],
  ["blue", [41, 240, 110], [0, 0, 255]],
])("%s converts both ways", (_, [y, u, v], colour) => {
  const data = Uint8Array.from([y, y, y, y, y, y, u, u, v, v] as number[]); // 3×2: chroma 2×1
  const rgba = i420ToRgba(data, 3, 2);
  expect(rgba).toHaveLength(24);
  for (let at = 0; at < 24; at += 4) {
    for (const [channel, value] of colour.entries()) {
      expect(Math.abs((rgba[at + channel] ?? -99) - value)).toBeLessThanOrEqual(3);
    }
    expect(rgba[at + 3]).toBe(255);
  }
  for (const [at, value] of rgbaToI420(rgba, 3, 2).entries()) {
    expect(Math.abs(value - (data[at] ?? -99))).toBeLessThanOrEqual(3);
  }
});
