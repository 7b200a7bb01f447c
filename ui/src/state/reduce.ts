/** What the UI knows, and how it changes. Pure: no DOM, no clock. */

import type { AppView } from "../generated/AppView";
import type { ErrorCode } from "../generated/ErrorCode";
import type { MemberId } from "../generated/MemberId";
import type { MemberLevel } from "../generated/MemberLevel";
import type { UiEvent } from "../generated/UiEvent";

export interface Failure {
  code: ErrorCode;
  /** Tells two failures with one code apart. */
  serial: number;
}

export interface State {
  /** The engine's last view; `null` until the first arrives. */
  view: AppView | null;
  /** One's own microphone, 0 to 1. */
  microphone: number;
  /** The others' sound; only of members in the call. */
  levels: ReadonlyMap<MemberId, MemberLevel>;
  /** Who of the others has the floor. */
  active_speaker: MemberId | null;
  /** The last failure that was neither dismissed nor outlived. */
  failure: Failure | null;
  /** Failures so far. */
  failures: number;
}

export const initialState: State = {
  view: null,
  microphone: 0,
  levels: new Map(),
  active_speaker: null,
  failure: null,
  failures: 0,
};

/** The state after an event. Entering a call outlives what failed before it. */
export function reduce(state: State, event: UiEvent): State {
  switch (event.type) {
    case "view": {
      const members = new Set(event.view.call?.members.map((member) => member.id));
      const levels = new Map([...state.levels].filter(([id]) => members.has(id)));
      const active_speaker = members.has(state.active_speaker ?? -1) ? state.active_speaker : null;
      const entered = state.view !== null && state.view.call === null && event.view.call !== null;
      const failure = entered ? null : state.failure;
      return { ...state, view: event.view, levels, active_speaker, failure };
    }
    case "levels":
      return {
        ...state,
        microphone: unit(event.microphone),
        active_speaker: event.active_speaker,
        levels: new Map(
          event.members.map((one) => [one.member, { ...one, level: unit(one.level) }]),
        ),
      };
    case "failed": {
      const failures = state.failures + 1;
      return { ...state, failures, failure: { code: event.code, serial: failures } };
    }
    case "frame_epoch":
      return state;
  }
}

/** The person read the failure, or its time is over. A newer one stays. */
export function dismissFailure(state: State, serial: number): State {
  return state.failure?.serial === serial ? { ...state, failure: null } : state;
}

function unit(level: number): number {
  return Number.isFinite(level) ? Math.min(1, Math.max(0, level)) : 0;
}
