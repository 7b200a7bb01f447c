/** Who gets the files that are dragged onto the window. Pure. */

import type { MemberId } from "../generated/MemberId";
import type { State } from "./reduce";
import { screenOf } from "./select";

export interface Recipient {
  member: MemberId;
  name: string;
}

/** Everybody files can be sent to, in order of joining. */
export function recipientsOf(state: State): Recipient[] {
  const members = state.view?.call?.members ?? [];
  return members.map(({ id, name }) => ({ member: id, name }));
}

/** What a window over which files are held says; `null` where nothing can be dropped. */
export type DropHint = { kind: "nobody" } | { kind: "one"; name: string } | { kind: "several" };

export function dropHint(state: State): DropHint | null {
  if (!state.dragging || screenOf(state.view) !== "call") return null;
  const [first, ...others] = recipientsOf(state);
  if (!first) return { kind: "nobody" };
  return others.length > 0 ? { kind: "several" } : { kind: "one", name: first.name };
}

/** What becomes of dropped files: sent, put before the person, or nothing. */
export type DropPlan = { kind: "send"; to: MemberId } | { kind: "ask" } | { kind: "refuse" };

export function dropPlan(state: State): DropPlan {
  const recipients = screenOf(state.view) === "call" ? recipientsOf(state) : [];
  const [first, ...others] = recipients;
  if (!first) return { kind: "refuse" };
  return others.length > 0 ? { kind: "ask" } : { kind: "send", to: first.member };
}

/** The last part of a path, of any system. */
export function nameOfPath(path: string): string {
  return (
    path
      .split(/[/\\]/u)
      .filter((part) => part !== "")
      .at(-1) ?? path
  );
}
