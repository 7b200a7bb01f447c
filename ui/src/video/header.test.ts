import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { bodyOf, FrameError, readFrames, SELF_MEMBER, writeFrame } from "./header";

const file = readFileSync(resolve(import.meta.dirname, "../../../tests/golden/frames.bin"));
const golden = (): Uint8Array<ArrayBuffer> => Uint8Array.from(file);
const counting = (from: number, to: number) =>
  Uint8Array.from({ length: to - from }, (_, at) => from + at);

function reasonOf(bytes: Uint8Array<ArrayBuffer>): string {
  try {
    readFrames(bytes.slice().buffer);
  } catch (error) {
    if (error instanceof FrameError) return error.reason;
    throw error;
  }
  return "none";
}

describe("readFrames", () => {
  it("reads the golden file as the engine wrote it", () => {
    const frames = readFrames(golden().buffer);
    expect(frames).toEqual([
      {
        member: 7,
        source: "camera",
        format: "vp8",
        keyframe: true,
        discontinuity: false,
        width_px: 1280,
        height_px: 720,
        sequence: 1,
        timestamp_us: 0x0001_0203_0405_0607,
        epoch: 3,
        description: new Uint8Array(),
        data: counting(0, 5),
      },
      {
        member: 8,
        source: "screen",
        format: "h264",
        keyframe: true,
        discontinuity: true,
        width_px: 1280,
        height_px: 720,
        sequence: 0xfedc_ba98,
        timestamp_us: 0x0001_0203_0405_0607,
        epoch: 3,
        description: counting(0, 8),
        data: counting(8, 20),
      },
      {
        member: SELF_MEMBER,
        source: "camera",
        format: "i420",
        keyframe: false,
        discontinuity: false,
        width_px: 4,
        height_px: 2,
        sequence: 2,
        timestamp_us: 40_000,
        epoch: 3,
        description: new Uint8Array(),
        data: counting(0, 12),
      },
    ]);
  });

  it("writes what it reads", () => {
    const written = readFrames(golden().buffer).flatMap((frame) => Array.from(writeFrame(frame)));
    expect(Uint8Array.from(written)).toEqual(golden());
  });

  it("reads an empty message as no frames", () => {
    expect(readFrames(new ArrayBuffer(0))).toEqual([]);
  });

  it("refuses every message cut short", () => {
    const whole = golden();
    const ends = [45, 105, whole.length];
    for (let length = 1; length < whole.length; length += 1) {
      const expected = ends.includes(length) ? "none" : "short";
      expect(reasonOf(whole.slice(0, length)), `${String(length)} bytes`).toBe(expected);
    }
  });

  it.each([
    [0, 0x58],
    [7, 0xff],
    [12, 2],
    [13, 4],
    [14, 4],
    [15, 6],
  ])("refuses a header with byte %i set to %i", (at, value) => {
    const bad = golden();
    bad[at] = value;
    expect(reasonOf(bad)).toBe("malformed");
  });

  it("survives any single corrupted byte without reading out of bounds", () => {
    for (let at = 0; at < 45; at += 1) {
      for (const value of [0x00, 0x7f, 0xff]) {
        const bad = golden();
        bad[at] = value;
        expect(["none", "short", "malformed"]).toContain(reasonOf(bad));
      }
    }
  });
});

describe("bodyOf", () => {
  it("normalises what a channel may hand over", () => {
    const buffer = Uint8Array.from([1, 2, 255]).buffer;
    expect(bodyOf(buffer)).toBe(buffer);
    expect(new Uint8Array(bodyOf([1, 2, 255]) ?? new ArrayBuffer(0))).toEqual(
      new Uint8Array(buffer),
    );
    const view = Uint8Array.from([9, 1, 2, 255]).subarray(1);
    expect(new Uint8Array(bodyOf(view) ?? new ArrayBuffer(0))).toEqual(new Uint8Array(buffer));
    expect(bodyOf("text")).toBeNull();
    expect(bodyOf(null)).toBeNull();
  });
});
