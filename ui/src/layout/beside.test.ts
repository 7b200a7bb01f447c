import { expect, it } from "vitest";
import { placeBeside } from "./beside";

const menu = { width: 200, height: 150 };
const within = { width: 800, height: 600 };

it.each([
  ["beneath", { x: 500, y: 100, width: 30, height: 30 }, { x: 330, y: 136 }],
  ["above at the bottom", { x: 500, y: 560, width: 30, height: 30 }, { x: 330, y: 404 }],
  ["inside at the left", { x: 20, y: 100, width: 30, height: 30 }, { x: 6, y: 136 }],
  ["inside at the right", { x: 790, y: 100, width: 30, height: 30 }, { x: 594, y: 136 }],
])("%s", (_, button, place) => {
  expect(placeBeside(button, menu, within)).toEqual(place);
});

it("covers the button rather than leave a window that is too small", () => {
  const small = { width: 120, height: 100 };
  const button = { x: 80, y: 40, width: 30, height: 30 };
  expect(placeBeside(button, menu, small)).toEqual({ x: 6, y: 6 });
});
