/**
 * Who is heard speaking, from levels that come ten times a second. Pure.
 *
 * Invariant: levels that change nothing of it leave the very same state, so that what is drawn from
 * the state is not looked at again. How loud somebody is is no state: only a meter shows it.
 */

import type { MemberId } from "../generated/MemberId";
import type { UiEvent } from "../generated/UiEvent";
import type { State } from "./reduce";
import { membersOf, seat } from "./seats";

/** A microphone louder than this, unmuted, is shown as speaking. */
export const SPEAKING_LEVEL = 0.06;

/** Nobody is heard. */
export const silence: Pick<State, "speaks" | "speaking" | "active_speaker"> = {
  speaks: false,
  speaking: new Set<MemberId>(),
  active_speaker: null,
};

/** The state after levels came in. */
export function hear(state: State, event: Extract<UiEvent, { type: "levels" }>): State {
  const { active_speaker } = event;
  const speaks = unit(event.microphone) > SPEAKING_LEVEL;
  const now = event.members.filter((one) => one.speaking).map((one) => one.member);
  const same = now.length === state.speaking.size && now.every((one) => state.speaking.has(one));
  const speaking = same ? state.speaking : new Set(now);
  const seats = seat(state.seats, membersOf(state.view), active_speaker);
  const unchanged =
    same &&
    speaks === state.speaks &&
    active_speaker === state.active_speaker &&
    seats === state.seats;
  return unchanged ? state : { ...state, speaks, speaking, active_speaker, seats };
}

/** What is heard of those who are still there. */
export function forget(
  { speaking, active_speaker }: State,
  there: ReadonlySet<MemberId>,
): Pick<State, "speaking" | "active_speaker"> {
  const kept = [...speaking].filter((one) => there.has(one));
  return {
    speaking: kept.length === speaking.size ? speaking : new Set(kept),
    active_speaker: there.has(active_speaker ?? -1) ? active_speaker : null,
  };
}

/** A level as it should be, 0 to 1. */
export function unit(level: number): number {
  return Number.isFinite(level) ? Math.min(1, Math.max(0, level)) : 0;
}
