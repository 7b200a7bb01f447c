/** What the UI knows, and how it changes. Pure: no DOM, no clock. */

import type { AppView } from "../generated/AppView";
import type { ErrorCode } from "../generated/ErrorCode";
import type { MemberId } from "../generated/MemberId";
import type { MemberLevel } from "../generated/MemberLevel";
import type { ShareOption } from "../generated/ShareOption";
import type { UiEvent } from "../generated/UiEvent";
import { emptyChat, receive, setOpen, type ChatState } from "./chat";
import { record, type NetworkHistory } from "./network";

export interface Failure {
  code: ErrorCode;
  /** Tells two failures with one code apart. */
  serial: number;
}

/** A reaction that floats over its sender's tile. */
export interface ShownReaction {
  member: MemberId;
  emoji: string;
  /** Tells two of one member apart; ascending. */
  serial: number;
}

/** Reactions that float at once; of more, the oldest vanish early. Enough for a room that claps. */
export const MOST_REACTIONS = 40;

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
  /** The chat of the call. */
  chat: ChatState;
  /** What floats over the tiles, oldest first. */
  reactions: readonly ShownReaction[];
  /** Reactions so far. */
  reacted: number;
  /** What can be shared, as last listed; `null` while it is being listed. */
  shares: readonly ShareOption[] | null;
  /** The connection's last minute. */
  network: NetworkHistory;
  /** Whether files are held over the window. */
  dragging: boolean;
  /** Dropped files that wait for the person to say who gets them. */
  dropped: readonly string[];
  /** Offers whose question the person put off; they wait in the list. Keys of `transferKey`. */
  postponed: ReadonlySet<string>;
}

/** What does not outlive a call. */
const freshCall = {
  chat: emptyChat,
  reactions: [],
  shares: null,
  network: [],
  dropped: [],
  postponed: new Set<string>(),
} satisfies Partial<State>;

export const initialState: State = {
  view: null,
  microphone: 0,
  levels: new Map(),
  active_speaker: null,
  failure: null,
  failures: 0,
  reacted: 0,
  dragging: false,
  ...freshCall,
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
      const over = event.view.call === null ? freshCall : {};
      // A call that is joined again begins anew without having been left.
      const network = event.view.call?.phase.phase === "connecting" ? [] : state.network;
      return { ...state, view: event.view, levels, active_speaker, failure, network, ...over };
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
    case "chat":
      return { ...state, chat: receive(state.chat, event.reset, event.messages) };
    case "reaction": {
      const { member, emoji } = event;
      const reacted = state.reacted + 1;
      const reactions = [...state.reactions, { member, emoji, serial: reacted }];
      return { ...state, reacted, reactions: reactions.slice(-MOST_REACTIONS) };
    }
    case "shares":
      return { ...state, shares: event.options };
    case "network":
      return { ...state, network: record(state.network, event.view) };
    case "dragging":
      return { ...state, dragging: event.over };
    case "dropped":
      return { ...state, dragging: false, dropped: event.paths };
    case "frame_epoch":
      return state;
  }
}

/** The person read the failure, or its time is over. A newer one stays. */
export function dismissFailure(state: State, serial: number): State {
  return state.failure?.serial === serial ? { ...state, failure: null } : state;
}

/** A reaction floated long enough. */
export function endReaction(state: State, serial: number): State {
  return { ...state, reactions: state.reactions.filter((one) => one.serial !== serial) };
}

/** The person opened or closed the chat. */
export function openChat(state: State, open: boolean): State {
  return { ...state, chat: setOpen(state.chat, open) };
}

/** What can be shared is being listed. */
export function listShares(state: State): State {
  return { ...state, shares: null };
}

/** The dropped files are offered, or the person thought better of it. */
export function clearDropped(state: State): State {
  return { ...state, dropped: [] };
}

/** The person answers an offer later. */
export function postpone(state: State, key: string): State {
  return { ...state, postponed: new Set([...state.postponed, key]) };
}

function unit(level: number): number {
  return Number.isFinite(level) ? Math.min(1, Math.max(0, level)) : 0;
}
