import { describe, expect, it } from "vitest";
import { arrange, arrangeSpeaker, contain, MOST_TILES, TILE_ASPECT } from "./arrange";

describe("arrange", () => {
  it.each([
    // count, width, height, columns, rows
    [1, 1280, 720, 1, 1],
    [2, 1280, 720, 2, 1],
    [3, 1280, 720, 2, 2],
    [4, 1280, 720, 2, 2],
    [5, 1280, 720, 3, 2],
    [7, 1280, 720, 3, 3],
    [9, 1280, 720, 3, 3],
    [10, 1280, 720, 4, 3],
    [16, 1280, 720, 4, 4],
    [49, 1280, 720, 7, 7],
    [2, 460, 560, 1, 2],
    [3, 460, 560, 1, 3],
    [4, 460, 560, 1, 4],
    [9, 460, 560, 2, 5],
    [3, 2400, 400, 3, 1],
  ])("%i tiles in %i×%i: %i columns, %i rows", (count, width, height, columns, rows) => {
    const grid = arrange(count, width, height, 8);
    expect([grid.columns, grid.rows]).toEqual([columns, rows]);
    expect(grid.tiles).toHaveLength(count);
  });

  it("keeps every tile inside the box, 16:9 and apart from the others", () => {
    for (const [width, height] of [
      [1280, 720],
      [900, 480],
      [480, 640],
      [900, 600],
      [1280, 800],
      [460, 560],
      [333, 777],
    ] as const) {
      for (let count = 1; count <= MOST_TILES; count += 1) {
        const { tiles } = arrange(count, width, height, 8);
        for (const [at, tile] of tiles.entries()) {
          expect(tile.x).toBeGreaterThanOrEqual(0);
          expect(tile.y).toBeGreaterThanOrEqual(0);
          expect(tile.x + tile.width).toBeLessThanOrEqual(width);
          expect(tile.y + tile.height).toBeLessThanOrEqual(height);
          expect(Math.abs(tile.height * TILE_ASPECT - tile.width)).toBeLessThan(TILE_ASPECT + 1);
          for (const other of tiles.slice(at + 1)) {
            const apart =
              tile.x + tile.width <= other.x ||
              other.x + other.width <= tile.x ||
              tile.y + tile.height <= other.y ||
              other.y + other.height <= tile.y;
            expect(apart, `${String(count)} tiles in ${String(width)}`).toBe(true);
          }
        }
      }
    }
  });

  /** The best width, found without any grid: the largest of which enough fit side by side. */
  function bestWidth(count: number, width: number, height: number, gap: number): number {
    const fit = (tile: number) =>
      Math.floor((width + gap) / (tile + gap)) *
      Math.floor((height + gap) / ((tile * 9) / 16 + gap));
    let [low, high] = [0, Math.max(width, height)];
    for (let step = 0; step < 60; step += 1) {
      const middle = (low + high) / 2;
      if (fit(middle) >= count) low = middle;
      else high = middle;
    }
    return low;
  }

  it.each([
    ["a window of 1280×800", 1256, 690],
    ["a window of 900×600", 876, 490],
    ["a window of 480×640", 464, 480],
    ["all of 1280×800", 1280, 800],
    ["all of 900×600", 900, 600],
    ["all of 480×640", 480, 640],
  ])("gives each of 1 to 49 tiles nine tenths of the best area, in %s", (_, width, height) => {
    for (let count = 1; count <= MOST_TILES; count += 1) {
      const tile = arrange(count, width, height, 10).tiles[0];
      const best = bestWidth(count, width, height, 10);
      const share = ((tile?.width ?? 0) * (tile?.height ?? 0)) / ((best * best * 9) / 16);
      expect(share, `${String(count)} tiles`).toBeGreaterThanOrEqual(0.9);
      expect(share, `${String(count)} tiles`).toBeLessThanOrEqual(1);
    }
  });

  it("centres an incomplete last row", () => {
    const { tiles } = arrange(3, 1280, 720, 8);
    const last = tiles[2];
    expect(last && last.x + last.width / 2).toBeCloseTo(640, 0);
  });

  it("lays out nothing without room or tiles, and never more than the most", () => {
    expect(arrange(0, 1280, 720, 8).tiles).toEqual([]);
    expect(arrange(4, 0, 720, 8).tiles).toEqual([]);
    expect(arrange(60, 1280, 720, 8).tiles).toHaveLength(MOST_TILES);
  });
});

describe("contain", () => {
  it.each([
    [1280, 720, 640, 360, { x: 0, y: 0, width: 640, height: 360 }],
    [1280, 720, 225, 126, { x: 0, y: 0, width: 225, height: 126 }],
    [640, 480, 640, 360, { x: 80, y: 0, width: 480, height: 360 }],
    [720, 1280, 640, 360, { x: 219, y: 0, width: 203, height: 360 }],
    [320, 90, 640, 360, { x: 0, y: 90, width: 640, height: 180 }],
    [0, 90, 640, 360, { x: 0, y: 0, width: 0, height: 0 }],
  ])("%i×%i in %i×%i", (width, height, boxWidth, boxHeight, expected) => {
    expect(contain(width, height, boxWidth, boxHeight)).toEqual(expected);
  });
});

describe("arrangeSpeaker", () => {
  const boxes = [
    [1280, 720],
    [1600, 420],
    [460, 700],
    [900, 500],
  ] as const;

  it.each(boxes)("in %i×%i shows one large and none above another", (width, height) => {
    for (const count of [2, 3, 4, 9, 20, MOST_TILES]) {
      for (const main of [0, 1, count - 1]) {
        const { tiles } = arrangeSpeaker(count, main, width, height, 8);
        expect(tiles).toHaveLength(count);
        const big = tiles[main];
        for (const [at, tile] of tiles.entries()) {
          expect(tile.x).toBeGreaterThanOrEqual(0);
          expect(tile.y).toBeGreaterThanOrEqual(0);
          expect(tile.x + tile.width).toBeLessThanOrEqual(width);
          expect(tile.y + tile.height).toBeLessThanOrEqual(height);
          if (!big || at === main) continue;
          expect(tile.width).toBeLessThan(big.width);
          const apart =
            tile.x >= big.x + big.width ||
            tile.y >= big.y + big.height ||
            tile.x + tile.width <= big.x ||
            tile.y + tile.height <= big.y;
          expect(apart, `${String(count)} tiles, ${String(at)} beside ${String(main)}`).toBe(true);
        }
      }
    }
  });

  it("gives the speaker more than the grid does", () => {
    for (const [width, height] of boxes) {
      const grid = arrange(4, width, height, 8).tiles[0]?.width ?? 0;
      expect(arrangeSpeaker(4, 2, width, height, 8).tiles[2]?.width).toBeGreaterThan(grid);
    }
  });

  it("is the grid where there is nobody to choose, or no room", () => {
    expect(arrangeSpeaker(1, 0, 800, 600, 8)).toEqual(arrange(1, 800, 600, 8));
    expect(arrangeSpeaker(4, -1, 800, 600, 8)).toEqual(arrange(4, 800, 600, 8));
    expect(arrangeSpeaker(4, 0, 0, 0, 8).tiles).toEqual([]);
    expect(arrangeSpeaker(3, 0, 40, 40, 8)).toEqual(arrange(3, 40, 40, 8));
  });
});
