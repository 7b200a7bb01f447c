import { describe, expect, it } from "vitest";
import { arrange, MOST_TILES } from "./arrange";
import { capacity, clampPage, firstPage, LEAST_TILE_PX, pagesOf } from "./pages";

describe("capacity", () => {
  it.each([
    [1256, 690, 49],
    [876, 480, 25],
    [464, 470, 15],
    [200, 700, 8],
    [100, 700, 10],
    [30, 20, 1],
    [0, 0, 1],
    [4000, 3000, MOST_TILES],
  ])("of %i×%i is %i", (width, height, most) => {
    expect(capacity({ width, height }, 10)).toBe(most);
  });

  it("is what can be laid out without any tile getting too small, and not one less", () => {
    for (let width = 150; width < 1400; width += 83) {
      for (let height = 90; height < 1000; height += 71) {
        const most = capacity({ width, height }, 10);
        const tileWidth = (count: number) => arrange(count, width, height, 10).tiles[0]?.width ?? 0;
        expect(tileWidth(most)).toBeGreaterThanOrEqual(LEAST_TILE_PX);
        if (most < MOST_TILES) expect(tileWidth(most + 1)).toBeLessThan(LEAST_TILE_PX);
      }
    }
  });
});

describe("pages", () => {
  const lengths = (count: number, most: number) =>
    pagesOf(Array.from({ length: count }), most).map((page) => page.length);

  it.each([
    [0, 4, [0]],
    [4, 4, [4]],
    [5, 4, [3, 2]],
    [16, 15, [8, 8]],
    [49, 15, [13, 12, 12, 12]],
    [3, 0, [1, 1, 1]],
  ])("of %i items, at most %i each: %j", (count, most, expected) => {
    expect(lengths(count, most).toSorted((a, b) => b - a)).toEqual(expected);
  });

  it("hold everything once, in order, and the first has as many as it is said to have", () => {
    for (let count = 0; count <= 60; count += 1) {
      const items = Array.from({ length: count }, (_, at) => at);
      for (let most = 1; most <= MOST_TILES; most += 1) {
        const pages = pagesOf(items, most);
        expect(pages.flat()).toEqual(items);
        expect(Math.max(...pages.map((page) => page.length))).toBeLessThanOrEqual(most);
        expect(pages[0]?.length).toBe(firstPage(count, most));
      }
    }
  });

  it.each([
    [0, 3, 0],
    [2, 3, 2],
    [3, 3, 2],
    [-1, 3, 0],
    [5, 0, 0],
  ])("page %i of %i is %i", (page, pages, expected) => {
    expect(clampPage(page, pages)).toBe(expected);
  });
});
