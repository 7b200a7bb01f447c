/** How the connection does: the newest figures, the last minute of them, what is the matter. Pure. */

import type { MemberId } from "../generated/MemberId";
import type { NetworkView } from "../generated/NetworkView";
import type { Verdict } from "../generated/Verdict";
import type { State } from "./reduce";

/** Seconds kept for a report: what somebody saw before they thought of one. */
export const HISTORY_S = 60;

/** One entry for each second, newest last. */
export type NetworkHistory = readonly NetworkView[];

/** Another second. */
export function record(history: NetworkHistory, view: NetworkView): NetworkHistory {
  return [...history, view].slice(-HISTORY_S);
}

/** The newest figures; `null` before the first of a call, and once everybody left. */
export function networkOf(state: State): NetworkView | null {
  const members = state.view?.call?.members ?? [];
  return members.length === 0 ? null : (state.network.at(-1) ?? null);
}

/** What is the matter, for everybody to see. A lost connection to the server says so itself. */
export function verdictOf(state: State): Verdict | null {
  const joined = state.view?.call?.phase.phase === "joined";
  return joined ? (networkOf(state)?.verdict ?? null) : null;
}

/** A member's name; empty for one who has none or left. */
export function nameOf(state: State, member: MemberId | null): string {
  const members = state.view?.call?.members ?? [];
  return members.find((one) => one.id === member)?.name ?? "";
}
