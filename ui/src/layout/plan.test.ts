import { describe, expect, it } from "vitest";
import { LEAST_STRIP_TILE_PX, LEAST_TILE_PX } from "./pages";
import { PAGER_PX, planStage, type Plan } from "./plan";

interface Tile {
  key: string;
}
const self: Tile = { key: "self" };
const people = (count: number): Tile[] =>
  Array.from({ length: count }, (_, at) => ({ key: String(at + 2) }));
const keys = (plan: Plan<Tile>) => plan.placed.map(({ tile }) => tile.key);
const BOXES = [
  [1256, 690],
  [876, 490],
  [464, 480],
  [180, 600],
] as const;

describe("a plan", () => {
  it("shows everybody on one page where they fit, oneself last", () => {
    const plan = planStage(people(8), self, null, { width: 1256, height: 690 }, 10, 3);
    expect(plan).toMatchObject({ pages: 1, page: 0, first: 8, main: null });
    expect(keys(plan)).toEqual(["2", "3", "4", "5", "6", "7", "8", "9", "self"]);
  });

  it.each(BOXES)(
    "in %i×%i shows everybody once over all pages, none too small",
    (width, height) => {
      for (const count of [1, 2, 7, 15, 30, 48, 70]) {
        for (const main of [null, "3", "self"]) {
          const at = (page: number) =>
            planStage(people(count), self, main, { width, height }, 10, page);
          const { pages } = at(0);
          const all = Array.from({ length: pages }, (_, page) => keys(at(page)));
          const large = at(0).main;
          if (large !== null) for (const page of all) expect(page[0]).toBe(large);
          const small = all.flatMap((page) => (large === null ? page : page.slice(1)));
          expect(new Set([...small, large ?? "2"]).size).toBe(count + 1);
          expect(small).toHaveLength(count + (large === null ? 1 : 0));
          expect(all[0]).toContain("self");
          const least = large === null ? LEAST_TILE_PX : LEAST_STRIP_TILE_PX;
          for (let page = 0; page < pages; page += 1) {
            for (const { place } of at(page).placed) {
              expect(place.width).toBeGreaterThanOrEqual(Math.min(least, width) - 1);
              expect(place.y + place.height).toBeLessThanOrEqual(
                height - (pages > 1 ? PAGER_PX : 0),
              );
            }
          }
        }
      }
    },
  );

  it("says how many others the first page has", () => {
    const box = { width: 464, height: 480 };
    const plan = planStage(people(20), self, null, box, 10, 0);
    expect(keys(plan).slice(0, plan.first)).toEqual(
      people(20)
        .slice(0, plan.first)
        .map((one) => one.key),
    );
    expect(keys(plan)).toHaveLength(plan.first + 1);
    expect(planStage(people(20), null, null, box, 10, 0).first).toBe(
      planStage(people(20), null, null, box, 10, 0).placed.length,
    );
  });

  it("stays on a page that exists", () => {
    const plan = planStage(people(40), self, null, { width: 464, height: 480 }, 10, 99);
    expect(plan.page).toBe(plan.pages - 1);
  });

  it("is the grid while the large one is not there, and nothing without room", () => {
    expect(planStage(people(3), self, "99", { width: 800, height: 600 }, 10, 0).main).toBeNull();
    expect(planStage(people(3), self, null, { width: 0, height: 0 }, 10, 0).placed).toEqual([]);
    expect(planStage([], null, null, { width: 800, height: 600 }, 10, 0).placed).toEqual([]);
  });
});
