/** What changed that is worth saying aloud to a screen reader. Pure. */

import type { AppView } from "../generated/AppView";
import type { ChatMessageView } from "../generated/ChatMessageView";
import type { TransferView } from "../generated/TransferView";
import { transferKey } from "./transfers";

export type Announcement =
  | { kind: "member_joined" | "member_left" | "hand_raised"; name: string }
  | { kind: "muted" | "unmuted" | "camera_on" | "camera_off" }
  | { kind: "my_hand_raised" | "my_hand_lowered" }
  | { kind: "share_started" | "share_ended"; name: string }
  | { kind: "my_share_started" | "my_share_ended" }
  | { kind: "sound_only" | "picture_back" }
  | { kind: "knock" | "host"; name: string }
  | { kind: "my_host" | "mute_question" | "door_open" | "door_knock" | "door_locked" }
  | {
      kind:
        "connecting" | "knocking" | "joined" | "reconnecting" | "reconnected" | "offline" | "ended";
    }
  | { kind: "message" | "messages" | "reaction"; name: string; text: string }
  | { kind: "offered" | "received" | "sent" | "transfer_failed"; name: string; text: string };

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
    const wasLost = was === "reconnecting" || was === "offline";
    if (is === "joined") said.push({ kind: wasLost ? "reconnected" : "joined" });
    else if (is !== undefined) said.push({ kind: is });
  }
  // People who were there before oneself did not "join" just now.
  const wasIn = was !== undefined && was !== "connecting" && was !== "knocking";
  if (wasIn && is !== undefined && is !== "ended" && is !== "knocking") {
    said.push(...careNews(before, after));
    const old = before.call?.members ?? [];
    const current = after.call?.members ?? [];
    for (const member of current) {
      const known = old.find((one) => one.id === member.id);
      if (!known) said.push({ kind: "member_joined", name: member.name });
      if (known && !known.hand_raised && member.hand_raised) {
        said.push({ kind: "hand_raised", name: member.name });
      }
      if ((known?.sharing ?? false) !== member.sharing) {
        said.push({ kind: member.sharing ? "share_started" : "share_ended", name: member.name });
      }
    }
    for (const member of old) {
      if (!current.some((one) => one.id === member.id)) {
        said.push({ kind: "member_left", name: member.name });
      }
    }
    const raised = after.call?.hand_raised ?? false;
    if (raised !== (before.call?.hand_raised ?? false)) {
      said.push({ kind: raised ? "my_hand_raised" : "my_hand_lowered" });
    }
  }
  const shares = after.call?.share?.state.state === "running";
  if (is !== undefined && shares !== (before.call?.share?.state.state === "running")) {
    said.push({ kind: shares ? "my_share_started" : "my_share_ended" });
  }
  if (is === "joined" && after.camera_on) {
    const held = after.call?.sound_only ?? false;
    if (held !== (before.call?.sound_only ?? false)) {
      said.push({ kind: held ? "sound_only" : "picture_back" });
    }
  }
  return [...said, ...transferNews(before, after)];
}

/** Who wants to be let in, who decides now, and what the host asks. */
function careNews(before: AppView, after: AppView): Announcement[] {
  const [old, call] = [before.call?.care, after.call];
  if (!old || !call) return [];
  const said: Announcement[] = [];
  for (const { knock, name } of call.care.knocks) {
    if (!old.knocks.some((one) => one.knock === knock)) said.push({ kind: "knock", name });
  }
  if (call.care.door !== old.door) said.push({ kind: `door_${call.care.door}` });
  // Whoever starts a call knows that it is theirs.
  if (old.host !== null && call.care.host !== old.host) {
    const name = call.members.find((one) => one.id === call.care.host)?.name;
    if (call.care.host === call.me) said.push({ kind: "my_host" });
    else if (name !== undefined) said.push({ kind: "host", name });
  }
  if (call.care.asked_to_mute && !old.asked_to_mute) said.push({ kind: "mute_question" });
  return said;
}

/** Transfers that reached a state one waits for. What the person did themselves is not news. */
function transferNews(before: AppView, after: AppView): Announcement[] {
  const old = new Map(before.call?.transfers.map((one) => [transferKey(one), one.state.state]));
  return (after.call?.transfers ?? []).flatMap((one): Announcement[] => {
    const kind = newsKind(one);
    const changed = old.get(transferKey(one)) !== one.state.state;
    return kind && changed ? [{ kind, name: one.member_name, text: one.name }] : [];
  });
}

function newsKind(transfer: TransferView) {
  switch (transfer.state.state) {
    case "asking":
      return "offered";
    case "done":
      return transfer.outgoing ? "sent" : "received";
    case "failed":
      return "transfer_failed";
    default:
      return null;
  }
}

/** More messages at once than this are only counted: a history would be read out for minutes. */
const MOST_READ_OUT = 3;
/** Characters of a message that are read out; the whole is in the panel. */
const READ_OUT_CHARS = 200;

/** What to say of new messages of others. */
export function messageNews(news: readonly ChatMessageView[]): Announcement[] {
  if (news.length > MOST_READ_OUT) {
    return [{ kind: "messages", name: "", text: String(news.length) }];
  }
  return news.map(({ name, text }) => ({
    kind: "message",
    name,
    text: text.length > READ_OUT_CHARS ? `${text.slice(0, READ_OUT_CHARS)}…` : text,
  }));
}
