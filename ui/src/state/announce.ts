/** What changed between two views that is worth saying aloud to a screen reader. Pure. */

import type { AppView } from "../generated/AppView";

export type Announcement =
  | { kind: "member_joined" | "member_left"; name: string }
  | { kind: "muted" | "unmuted" | "camera_on" | "camera_off" }
  | { kind: "connecting" | "joined" | "reconnecting" | "reconnected" | "ended" };

/** Changes from one view to the next, in the order they should be said. */
export function announcements(before: AppView | null, after: AppView): Announcement[] {
  if (!before) return [];
  const said: Announcement[] = [];
  if (before.muted !== after.muted) said.push({ kind: after.muted ? "muted" : "unmuted" });
  if (before.camera_on !== after.camera_on) {
    said.push({ kind: after.camera_on ? "camera_on" : "camera_off" });
  }
  const was = before.call?.phase.phase;
  const is = after.call?.phase.phase;
  if (was !== is) {
    if (is === "joined") said.push({ kind: was === "reconnecting" ? "reconnected" : "joined" });
    else if (is !== undefined) said.push({ kind: is });
  }
  // People who were there before oneself did not "join" just now.
  if (was !== undefined && was !== "connecting" && is !== undefined && is !== "ended") {
    const old = before.call?.members ?? [];
    const current = after.call?.members ?? [];
    for (const member of current) {
      if (!old.some((one) => one.id === member.id)) {
        said.push({ kind: "member_joined", name: member.name });
      }
    }
    for (const member of old) {
      if (!current.some((one) => one.id === member.id)) {
        said.push({ kind: "member_left", name: member.name });
      }
    }
  }
  return said;
}
