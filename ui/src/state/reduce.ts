/** What the UI knows, and how it changes. Pure: no DOM, no clock. */

import type { AppView } from "../generated/AppView";
import type { ChoicesView } from "../generated/ChoicesView";
import type { ErrorCode } from "../generated/ErrorCode";
import type { MemberId } from "../generated/MemberId";
import type { RecentRoomView } from "../generated/RecentRoomView";
import type { ShareOption } from "../generated/ShareOption";
import type { UiEvent } from "../generated/UiEvent";
import { emptyChat, receive, setOpen, type ChatState } from "./chat";
import { forget, hear, silence } from "./levels";
import { record, type NetworkHistory } from "./network";
import { defaultPreferences, type Preferences } from "./preferences";
import { dropPin, emptySeats, membersOf, seat, togglePin, type Seats } from "./seats";
import { SELF_MEMBER } from "../video/header";

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
  /** The person's choices of the window; `null` until the first arrive. */
  choices: ChoicesView | null;
  /** Where the person was before, newest first. */
  rooms: readonly RecentRoomView[];
  /** The invite they opened elsewhere and are asked about. */
  invited: string | null;
  /** Whether they are asked if the window is to be closed in spite of the call. */
  closing: boolean;
  /** Whether one's own microphone is loud enough for speech, also while muted. */
  speaks: boolean;
  /** Who of the others speaks; only members in the call. */
  speaking: ReadonlySet<MemberId>;
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
  /** Who sits where. */
  seats: Seats;
  /** How the person likes the call window. */
  preferences: Preferences;
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
  seats: emptySeats,
  shares: null,
  network: [],
  dropped: [],
  closing: false,
  postponed: new Set<string>(),
} satisfies Partial<State>;

export const initialState: State = {
  view: null,
  choices: null,
  rooms: [],
  invited: null,
  ...silence,
  failure: null,
  failures: 0,
  reacted: 0,
  dragging: false,
  preferences: defaultPreferences,
  ...freshCall,
};

/** The state after an event. Entering a call outlives what failed before it. */
export function reduce(state: State, event: UiEvent): State {
  switch (event.type) {
    case "view": {
      const ids = membersOf(event.view);
      const members = new Set(ids);
      const heard = forget(state, members);
      const entered = state.view !== null && state.view.call === null && event.view.call !== null;
      const failure = entered ? null : state.failure;
      const over = event.view.call === null ? freshCall : {};
      const seats = dropPin(seat(state.seats, ids, heard.active_speaker), ids, SELF_MEMBER);
      // A call that is joined again begins anew without having been left.
      const network = event.view.call?.phase.phase === "connecting" ? [] : state.network;
      const current = { view: event.view, ...heard, failure, network, seats };
      return { ...state, ...current, ...over };
    }
    case "levels":
      return hear(state, event);
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
    case "choices":
      return { ...state, choices: event.choices };
    case "rooms":
      return { ...state, rooms: event.rooms };
    case "invited":
      return { ...state, invited: event.code };
    case "closing":
      return { ...state, closing: true };
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

/** The stage has room for `first` of the others on the first of `pages` pages. */
export function fitStage(state: State, first: number, pages: number): State {
  const { seats } = state;
  if (seats.first === first && seats.pages === pages) return state;
  const page = Math.min(seats.page, pages - 1);
  const fitted = { ...seats, first, pages, page };
  return { ...state, seats: seat(fitted, membersOf(state.view), state.active_speaker) };
}

/** The person wants another page; beyond the ends there is none. */
export function showPage(state: State, page: number): State {
  const { seats } = state;
  return {
    ...state,
    seats: { ...seats, page: Math.max(0, Math.min(seats.pages - 1, page)) },
  };
}

/** The person pins a tile, or lets it go. */
export function pinTile(state: State, key: string): State {
  return { ...state, seats: togglePin(state.seats, key) };
}

/** The person likes something else. */
export function prefer(state: State, more: Partial<Preferences>): State {
  return { ...state, preferences: { ...state.preferences, ...more } };
}

/** What can be shared is being listed. */
export function listShares(state: State): State {
  return { ...state, shares: null };
}

/** The dropped files are offered, or the person thought better of it. */
export function clearDropped(state: State): State {
  return { ...state, dropped: [] };
}

/** The person answered the invite. */
export function clearInvited(state: State): State {
  return { ...state, invited: null };
}

/** The person said whether the window closes. */
export function endClosing(state: State): State {
  return { ...state, closing: false };
}

/** The person answers an offer later. */
export function postpone(state: State, key: string): State {
  return { ...state, postponed: new Set([...state.postponed, key]) };
}
