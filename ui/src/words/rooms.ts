/** Rooms one was in, in words. */

import type { RecentRoomView } from "../generated/RecentRoomView";
import { formatWhen } from "./format";
import { words } from "./words";

/** `yesterday, 15:04, with Ada and Ben`. */
export function roomText(room: RecentRoomView, now_ms: number): string {
  const when = formatWhen(room.last_at_ms, now_ms);
  const { met } = room;
  return `${when}, ${met.length > 0 ? words.rooms.met(met.join(", ")) : words.rooms.nobody}`;
}
