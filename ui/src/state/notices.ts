/** What is worth telling the person while they look elsewhere. Pure. */

import type { Announcement } from "./announce";

/** Kinds that are told: somebody came, or wants something of the person. */
const TOLD: readonly Announcement["kind"][] = [
  "member_joined",
  "message",
  "messages",
  "offered",
  "hand_raised",
];

export function noticesOf(news: readonly Announcement[]): Announcement[] {
  return news.filter((one) => TOLD.includes(one.kind));
}
