import { describe, expect, it } from "vitest";
import { FIT, fitScale, isPannable, MOST_SCALE, pan, place, zoomByWheel, zoomTo } from "./zoom";

const picture = { width: 2000, height: 1000 };
const box = { width: 1000, height: 1000 };
const middle = { x: 500, y: 500 };

describe("place", () => {
  it("shows all of a picture, centred and never magnified", () => {
    expect(place(FIT, picture, box)).toEqual({ scale: 0.5, x: 0, y: 250 });
    expect(place(FIT, { width: 100, height: 50 }, box)).toEqual({ scale: 1, x: 450, y: 475 });
    expect(fitScale({ width: 0, height: 0 }, box)).toBe(1);
  });

  it("leaves no margin along a side that does not fit", () => {
    const corner = (x: number, y: number) =>
      place({ kind: "scaled", scale: 1, center: { x, y } }, picture, box);
    expect(corner(0.5, 0.5)).toEqual({ scale: 1, x: -500, y: 0 });
    expect(corner(0, 0)).toMatchObject({ x: 0, y: 0 });
    expect(corner(1, 9)).toMatchObject({ x: -1000, y: 0 });
  });
});

describe("zooming", () => {
  it("keeps the point under the pointer where it is", () => {
    const at = { x: 250, y: 500 };
    const before = place(FIT, picture, box);
    const seen = { x: (at.x - before.x) / before.scale, y: (at.y - before.y) / before.scale };
    const after = place(zoomTo(FIT, 2, at, picture, box), picture, box);
    expect(after.scale).toBe(2);
    expect(after.x + seen.x * 2).toBeCloseTo(at.x);
    expect(after.y + seen.y * 2).toBeCloseTo(at.y);
  });

  it("goes from all of it to four times and back", () => {
    let zoom = FIT;
    for (let step = 0; step < 40; step += 1) zoom = zoomByWheel(zoom, -100, middle, picture, box);
    expect(place(zoom, picture, box).scale).toBe(MOST_SCALE);
    for (let step = 0; step < 40; step += 1) zoom = zoomByWheel(zoom, 100, middle, picture, box);
    expect(zoom).toEqual(FIT);
  });

  it("goes no further out than all of it, and no picture zooms nothing", () => {
    expect(zoomTo(FIT, 0.1, middle, picture, box)).toEqual(FIT);
    expect(zoomTo(FIT, 2, middle, { width: 0, height: 0 }, box)).toEqual(FIT);
  });
});

describe("panning", () => {
  it("follows the hand up to the edge, and back at once", () => {
    const zoom = zoomTo(FIT, 1, middle, picture, box);
    expect(place(zoom, picture, box).x).toBe(-500);
    const right = pan(zoom, { x: 9_999, y: 50 }, picture, box);
    expect(place(right, picture, box)).toMatchObject({ x: 0, y: 0 });
    const back = pan(right, { x: -100, y: 0 }, picture, box);
    expect(place(back, picture, box).x).toBeCloseTo(-100);
  });

  it("moves nothing that is wholly in sight", () => {
    expect(pan(FIT, { x: 50, y: 50 }, picture, box)).toEqual(FIT);
    expect(isPannable(FIT, picture, box)).toBe(false);
    expect(isPannable(zoomTo(FIT, 1, middle, picture, box), picture, box)).toBe(true);
  });
});
