import { expect, it } from "vitest";
import { i420ToRgba, packedPlanes, rgbaToI420, scaleI420 } from "./yuv";

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

it("scales as it converts, and takes planes with padding", () => {
  const [width, height] = [8, 6];
  const pixel = (_: unknown, at: number) => [at * 5, 200 - at * 3, 40 + at * 2, 255];
  const wide = Array.from({ length: width * height }, pixel).flat();
  const data = rgbaToI420(Uint8ClampedArray.from(wide), width, height);
  const planes = packedPlanes(data, width, height);
  const same = new Uint8ClampedArray(width * height * 4);
  scaleI420(planes, same, width, height);
  for (const [at, value] of i420ToRgba(data, width, height).entries()) {
    expect(Math.abs((same[at] ?? -99) - value)).toBeLessThanOrEqual(2);
  }

  const padded = new Uint8Array(1000).fill(7);
  const layout = planes.layout.map(({ offset, stride }, plane) => {
    const at = { offset: 100 + plane * 300, stride: stride + 5 };
    for (let row = 0; row < (plane === 0 ? height : height / 2); row += 1) {
      const from = offset + row * stride;
      padded.set(data.subarray(from, from + stride), at.offset + row * at.stride);
    }
    return at;
  });
  const [small, other] = [new Uint8ClampedArray(48), new Uint8ClampedArray(48)];
  scaleI420(planes, small, 4, 3);
  scaleI420({ data: padded, width, height, layout }, other, 4, 3);
  expect(other).toEqual(small);
});

it("takes the mean where it makes smaller", () => {
  // Black and white in a chequered pattern, no colour.
  const luma = Array.from({ length: 16 }, (_, at) => ((at + (at >> 2)) % 2 === 0 ? 16 : 235));
  const planes = packedPlanes(Uint8Array.from([...luma, ...Array<number>(8).fill(128)]), 4, 4);
  const rgba = new Uint8ClampedArray(16);
  scaleI420(planes, rgba, 2, 2);
  for (const at of [0, 4, 8, 12]) expect(Math.abs((rgba[at] ?? 0) - 127)).toBeLessThanOrEqual(3);
});
