/**
 * The chat as it comes in: every message once, in order, and which of them are unread.
 *
 * Invariants: a message is unread at most once, also when the engine tells all of them again; own
 * messages never are.
 *
 * Not here: how messages are grouped (`groups`) and worded.
 */

import type { ChatMessageView } from "../generated/ChatMessageView";

/** Messages kept to scroll back to; the oldest are forgotten. More costs memory and drawing time. */
export const MOST_MESSAGES = 1000;
/** Ids remembered so that a message told again is not news; as many as the engine keeps messages. */
const MOST_KNOWN = 5000;

export interface ChatState {
  /** Whether the panel is open, so that what comes in is read at once. */
  open: boolean;
  /** Oldest first. */
  messages: readonly ChatMessageView[];
  /** Ids of all that came in during this call. */
  known: ReadonlySet<string>;
  /** Ids of others' messages that came in while the panel was closed. */
  unread: ReadonlySet<string>;
}

export const emptyChat: ChatState = {
  open: false,
  messages: [],
  known: new Set(),
  unread: new Set(),
};

/** Others' messages among `arrived` that were not known before. */
export function newsOf(chat: ChatState, arrived: readonly ChatMessageView[]): ChatMessageView[] {
  return arrived.filter((message) => !message.mine && !chat.known.has(message.id));
}

/** The chat after messages came in; `reset` makes void what was shown before. */
export function receive(
  chat: ChatState,
  reset: boolean,
  arrived: readonly ChatMessageView[],
): ChatState {
  const byId = new Map((reset ? [] : chat.messages).map((message) => [message.id, message]));
  for (const message of arrived) byId.set(message.id, message);
  const messages = [...byId.values()]
    .sort((a, b) => (a.order < b.order ? -1 : Number(a.order > b.order)))
    .slice(-MOST_MESSAGES);
  const news = chat.open ? [] : newsOf(chat, arrived).map((message) => message.id);
  return {
    ...chat,
    messages,
    known: new Set([...chat.known, ...arrived.map((message) => message.id)].slice(-MOST_KNOWN)),
    unread: news.length > 0 ? new Set([...chat.unread, ...news].slice(-MOST_KNOWN)) : chat.unread,
  };
}

/** The panel was opened, which reads everything, or closed. */
export function setOpen(chat: ChatState, open: boolean): ChatState {
  return { ...chat, open, unread: open ? emptyChat.unread : chat.unread };
}
