/** The chat's messages as they stand in the panel: what one person said in one go is one group. */

import type { ChatMessageView } from "../generated/ChatMessageView";
import type { MemberId } from "../generated/MemberId";
import { SELF_MEMBER } from "../video/header";

/** A pause longer than this begins a new group, so that the time above it stays true. */
export const GROUP_PAUSE_MS = 5 * 60_000;

export interface ChatGroup {
  /** The first message's id; stays while messages are added. */
  key: string;
  /** Who wrote it, while they are in the room. */
  member: MemberId | null;
  name: string;
  mine: boolean;
  /** When the first of them was sent, in milliseconds since 1970. */
  sent_at_ms: number;
  messages: ChatMessageView[];
}

/** Groups of messages that are in order already. */
export function groupMessages(messages: readonly ChatMessageView[]): ChatGroup[] {
  const groups: ChatGroup[] = [];
  let last: ChatMessageView | undefined;
  for (const message of messages) {
    const group = groups.at(-1);
    if (group && last && continues(last, message)) {
      group.messages.push(message);
    } else {
      groups.push({
        key: message.id,
        member: message.mine ? SELF_MEMBER : message.from,
        name: message.name,
        mine: message.mine,
        sent_at_ms: message.sent_at_ms,
        messages: [message],
      });
    }
    last = message;
  }
  return groups;
}

function continues(last: ChatMessageView, next: ChatMessageView): boolean {
  const same = last.mine
    ? next.mine
    : !next.mine && last.from === next.from && last.name === next.name;
  // Clocks of the same author may be set back; a negative pause is none.
  return same && next.sent_at_ms - last.sent_at_ms <= GROUP_PAUSE_MS;
}
