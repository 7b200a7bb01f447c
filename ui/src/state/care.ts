/** Care for the room as the views show it, derived from the state. Pure. */

import type { CallView } from "../generated/CallView";
import type { ErrorCode } from "../generated/ErrorCode";
import type { KnockView } from "../generated/KnockView";
import type { MemberView } from "../generated/MemberView";
import type { State } from "./reduce";

/** Knocks shown at once; the others are counted. */
export const KNOCKS_SHOWN = 3;

/** Whether one is the host of the call. */
export function isHost(call: CallView | null | undefined): boolean {
  const host = call?.care.host ?? null;
  return host !== null && host === call?.me;
}

/** Who is host, for those who are not. */
export function hostName(call: CallView | null | undefined): string | null {
  return call?.members.find((one) => one.id === call.care.host)?.name ?? null;
}

export interface Knocks {
  shown: KnockView[];
  /** How many more wait. */
  more: number;
}

/** Who waits to be let in, as far as it is shown. */
export function knocksOf(state: State): Knocks {
  const knocks = state.view?.call?.care.knocks ?? [];
  return { shown: knocks.slice(0, KNOCKS_SHOWN), more: Math.max(0, knocks.length - KNOCKS_SHOWN) };
}

/** Whether the host's question to mute is to be shown. */
export function asksToMute(state: State): boolean {
  return (state.view?.call?.care.asked_to_mute ?? false) && !(state.view?.muted ?? true);
}

/** Whether asking a member to mute makes sense. */
export function canAskToMute(member: Pick<MemberView, "muted">): boolean {
  return !member.muted;
}

export type EndedTitle = "title" | "failed" | "removed" | "ended" | "refused";

/** What the end of a call is called. */
export function endedTitle(code: ErrorCode | null): EndedTitle {
  switch (code) {
    case null:
      return "title";
    case "removed":
      return "removed";
    case "call_ended":
      return "ended";
    case "room_locked":
    case "not_admitted":
      return "refused";
    default:
      return "failed";
  }
}

/** Whether joining again is offered: not to whom the host sent away. */
export function canJoinAgain(code: ErrorCode | null): boolean {
  return code !== "removed" && code !== "call_ended";
}
