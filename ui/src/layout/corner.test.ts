import { expect, it } from "vitest";
import { CORNERS } from "../state/preferences";
import { cornerBeside, nearestCorner } from "./corner";

it.each([
  [0, 0, "top_left"],
  [799, 10, "top_right"],
  [10, 599, "bottom_left"],
  [401, 301, "bottom_right"],
  [-50, 900, "bottom_left"],
])("%i, %i is in the corner %s", (x, y, corner) => {
  expect(nearestCorner(x, y, { width: 800, height: 600 })).toBe(corner);
});

it.each([
  ["bottom_right", "ArrowUp", "top_right"],
  ["bottom_right", "ArrowLeft", "bottom_left"],
  ["bottom_right", "ArrowRight", null],
  ["bottom_right", "ArrowDown", null],
  ["top_left", "ArrowDown", "bottom_left"],
  ["top_left", "ArrowRight", "top_right"],
  ["top_left", "Enter", null],
] as const)("from %s, %s leads to %s", (from, key, to) => {
  expect(cornerBeside(from, key)).toBe(to);
});

it("every corner can be reached from every other", () => {
  const keys = ["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight"];
  for (const from of CORNERS) {
    const reached = new Set([from]);
    for (let step = 0; step < 2; step += 1) {
      for (const one of [...reached]) {
        for (const key of keys) reached.add(cornerBeside(one, key) ?? one);
      }
    }
    expect(reached.size).toBe(CORNERS.length);
  }
});
