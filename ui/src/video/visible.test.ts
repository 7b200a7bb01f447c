import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { TileSize } from "../generated/TileSize";
import { SETTLE_MS, VisibleTiles } from "./visible";

const ada = { member: 1, source: "camera" } as const;
const ben = { member: 2, source: "camera" } as const;
let told: TileSize[][];
let visible: VisibleTiles;

beforeEach(() => {
  vi.useFakeTimers();
  told = [];
  visible = new VisibleTiles((tiles) => told.push(tiles));
});
afterEach(() => {
  vi.useRealTimers();
});

it("tells once things settled, and only what changed", () => {
  visible.set(ada, 100, 50);
  vi.advanceTimersByTime(SETTLE_MS - 1);
  visible.set(ada, 640, 360);
  visible.set(ben, 0, 0);
  vi.advanceTimersByTime(SETTLE_MS - 1);
  expect(told).toEqual([]);
  vi.advanceTimersByTime(1);
  expect(told).toEqual([[{ ...ada, width_px: 640, height_px: 360 }]]);
  visible.set(ada, 640, 360);
  vi.advanceTimersByTime(SETTLE_MS);
  expect(told).toHaveLength(1);
});

it("shows nothing while the document is hidden, and repeats on demand", () => {
  visible.set(ada, 640, 360);
  vi.advanceTimersByTime(SETTLE_MS);
  visible.setHidden(true);
  vi.advanceTimersByTime(SETTLE_MS);
  visible.setHidden(false);
  vi.advanceTimersByTime(SETTLE_MS);
  visible.repeat();
  vi.advanceTimersByTime(SETTLE_MS);
  visible.remove(ada);
  vi.advanceTimersByTime(SETTLE_MS);
  expect(told.map((tiles) => tiles.length)).toEqual([1, 0, 1, 1, 0]);
});
