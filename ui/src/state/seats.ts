/**
 * Who sits where: the order of the others' tiles, who is pinned, which page is looked at. Pure.
 *
 * Invariants: everybody in the call has one seat and nobody else has; somebody new sits behind all
 * others; whoever has the floor sits on the first page, for which one member of that page, the one
 * whose last word is longest ago, changes seats with them and nobody else moves.
 */

import type { AppView } from "../generated/AppView";
import type { MemberId } from "../generated/MemberId";
import { tileKey } from "../video/tile";

export interface Seats {
  /** The others, by seat. */
  order: readonly MemberId[];
  /** Those who had the floor, the latest first. */
  spoke: readonly MemberId[];
  /** How many of the others fit on the first page. */
  first: number;
  /** The tile the person wants large, by its key. */
  pinned: string | null;
  /** The page the person looks at, from 0, and how many there are. */
  page: number;
  pages: number;
}

export const emptySeats: Seats = {
  order: [],
  spoke: [],
  first: 49,
  pinned: null,
  page: 0,
  pages: 1,
};

/** The others in the call, in order of joining. */
export function membersOf(view: AppView | null): MemberId[] {
  return (view?.call?.members ?? []).map((member) => member.id);
}

/** The seats when these members are there, in order of joining, and `active` has the floor. */
export function seat(seats: Seats, members: readonly MemberId[], active: MemberId | null): Seats {
  const there = new Set(members);
  const kept = seats.order.filter((one) => there.has(one));
  const seated = new Set(kept);
  const order = [...kept, ...members.filter((one) => !seated.has(one))];
  const past = seats.spoke.filter((one) => there.has(one) && one !== active);
  const speaks = active !== null && there.has(active);
  const spoke = speaks ? [active, ...past] : past;
  if (speaks) bringForward(order, active, seats.first, spoke);
  const same = alike(order, seats.order) && alike(spoke, seats.spoke);
  return same ? seats : { ...seats, order, spoke };
}

function bringForward(
  order: MemberId[],
  active: MemberId,
  first: number,
  spoke: readonly MemberId[],
): void {
  const at = order.indexOf(active);
  if (at < first || first < 1) return;
  const silence = (member: MemberId) => {
    const since = spoke.indexOf(member);
    return since < 0 ? spoke.length : since;
  };
  let leaves = first - 1;
  // Of several who never spoke the last one leaves: the front of the page stays as it is.
  for (let seat = first - 2; seat >= 0; seat -= 1) {
    const [one, other] = [order[seat], order[leaves]];
    if (one !== undefined && other !== undefined && silence(one) > silence(other)) leaves = seat;
  }
  const leaving = order[leaves];
  if (leaving === undefined) return;
  order[leaves] = active;
  order[at] = leaving;
}

function alike(a: readonly MemberId[], b: readonly MemberId[]): boolean {
  return a.length === b.length && a.every((one, at) => one === b[at]);
}

/** Pins a tile; a pinned one is let go. */
export function togglePin(seats: Seats, key: string): Seats {
  return { ...seats, pinned: seats.pinned === key ? null : key };
}

/** Whose camera is pinned keeps its pin only while they are there; `self` always is. */
export function dropPin(seats: Seats, members: readonly MemberId[], self: MemberId): Seats {
  if (seats.pinned === null) return seats;
  const there = [...members, self].some((member) =>
    (["camera", "screen"] as const).some((source) => tileKey({ member, source }) === seats.pinned),
  );
  return there ? seats : { ...seats, pinned: null };
}
