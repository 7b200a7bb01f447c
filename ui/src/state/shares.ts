/** What is shared, and what can be: derived from the state. Pure. */

import type { MemberId } from "../generated/MemberId";
import type { ShareKind } from "../generated/ShareKind";
import type { ShareOption } from "../generated/ShareOption";
import type { State } from "./reduce";

/** The share that the person chooses in a dialog of the system. */
const CHOSEN = "chosen";

/** A screen or window somebody else shares. */
export interface SharedView {
  member: MemberId;
  name: string;
}

/** Who of the others shares, in order of joining. */
export function sharers(state: State): SharedView[] {
  const members = state.view?.call?.members ?? [];
  return members
    .filter((member) => member.sharing)
    .map((member) => ({ member: member.id, name: member.name }));
}

/** Whose screen is looked at: the chosen one's while they share, else who joined last. */
export function shownShare(state: State, chosen: MemberId | null): SharedView | null {
  const all = sharers(state);
  return all.find((one) => one.member === chosen) ?? all.at(-1) ?? null;
}

/** What oneself shares, if anything: its name as it was listed, if it was. */
export interface OwnShare {
  name: string | null;
  starting: boolean;
  /** The person chooses what it is in a dialog of the system. */
  choosing: boolean;
}

export function ownShare(state: State): OwnShare | null {
  const share = state.view?.call?.share;
  if (!share) return null;
  const option = state.shares?.find((one) => one.id === share.id);
  const starting = share.state.state === "starting";
  return { name: option?.name || null, starting, choosing: starting && share.id === CHOSEN };
}

/** What can be shared of one kind. */
export function optionsOf(state: State, kind: ShareKind): ShareOption[] {
  return (state.shares ?? []).filter((option) => option.kind === kind);
}

/** The share to begin with at once, because choosing is left to the system alone. */
export function onlyShare(state: State): string | null {
  const [first, ...others] = state.shares ?? [];
  return first?.kind === "chosen" && others.length === 0 ? first.id : null;
}
