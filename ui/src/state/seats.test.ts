import { describe, expect, it } from "vitest";
import { dropPin, emptySeats, seat, togglePin, type Seats } from "./seats";

const seats = (order: number[], spoke: number[], first: number): Seats => ({
  ...emptySeats,
  order,
  spoke,
  first,
});

describe("seats", () => {
  it.each([
    ["joining", seats([], [], 3), [2, 3], null, [2, 3]],
    ["somebody new", seats([3, 2], [], 3), [2, 3, 4], null, [3, 2, 4]],
    ["somebody leaving", seats([3, 2, 4], [3], 3), [2, 4], null, [2, 4]],
    ["the floor on the first page", seats([2, 3, 4], [], 2), [2, 3, 4], 3, [2, 3, 4]],
    ["the floor beyond it", seats([2, 3, 4, 5], [], 2), [2, 3, 4, 5], 5, [2, 5, 4, 3]],
    ["who never spoke leaves first", seats([2, 3, 4], [3], 2), [2, 3, 4], 4, [4, 3, 2]],
    ["then who spoke longest ago", seats([2, 3, 4], [3, 2], 2), [2, 3, 4], 4, [4, 3, 2]],
    ["or the other one", seats([2, 3, 4], [2, 3], 2), [2, 3, 4], 4, [2, 4, 3]],
    ["nobody with the floor", seats([2, 3, 4], [4], 2), [2, 3, 4], null, [2, 3, 4]],
    ["one who left with the floor", seats([2, 3], [], 1), [2, 3], 9, [2, 3]],
    ["no first page to speak of", seats([2, 3], [], 0), [2, 3], 3, [2, 3]],
  ])("%s", (_, before, members, active, order) => {
    expect(seat(before, members, active).order).toEqual(order);
  });

  it("remembers who spoke, the latest first, without those who left", () => {
    let now = seats([2, 3, 4], [], 9);
    for (const active of [2, 4, 2, 3]) now = seat(now, [2, 3, 4], active);
    expect(now.spoke).toEqual([3, 2, 4]);
    expect(seat(now, [3, 4], null).spoke).toEqual([3, 4]);
  });

  it("are the same thing while nothing changes", () => {
    const now = seat(seats([2, 3], [], 9), [2, 3], 3);
    expect(seat(now, [2, 3], 3)).toBe(now);
  });

  it("move two people at most, whoever gets the floor", () => {
    const members = Array.from({ length: 40 }, (_, at) => at + 2);
    let now = seat({ ...emptySeats, first: 12 }, members, null);
    for (let turn = 0; turn < 500; turn += 1) {
      const active = members[(turn * 29) % members.length] ?? 2;
      const next = seat(now, members, active);
      const moved = next.order.filter((one, at) => one !== now.order[at]);
      expect(moved.length).toBeLessThanOrEqual(2);
      expect(next.order.indexOf(active)).toBeLessThan(12);
      expect(next.order.toSorted((a, b) => a - b)).toEqual(members);
      now = next;
    }
  });
});

it("pins one tile, and lets it go with its member", () => {
  const pinned = togglePin(togglePin(emptySeats, "2/camera"), "3/screen");
  expect(pinned.pinned).toBe("3/screen");
  expect(togglePin(pinned, "3/screen").pinned).toBeNull();
  expect(dropPin(pinned, [2, 3], 0).pinned).toBe("3/screen");
  expect(dropPin(pinned, [2], 0).pinned).toBeNull();
  expect(dropPin(togglePin(emptySeats, "0/camera"), [], 0).pinned).toBe("0/camera");
});
