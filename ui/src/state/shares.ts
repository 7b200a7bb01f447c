/** What is shared, and what can be: derived from the state. Pure. */

import type { MemberId } from "../generated/MemberId";
import type { ShareKind } from "../generated/ShareKind";
import type { ShareOption } from "../generated/ShareOption";
import type { State } from "./reduce";

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
}

export function ownShare(state: State): OwnShare | null {
  const share = state.view?.call?.share;
  if (!share) return null;
  const option = state.shares?.find((one) => one.id === share.id);
  return { name: option?.name ?? null, starting: share.state.state === "starting" };
}

/** What can be shared of one kind. */
export function optionsOf(state: State, kind: ShareKind): ShareOption[] {
  return (state.shares ?? []).filter((option) => option.kind === kind);
}
