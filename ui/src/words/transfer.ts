/** Files on their way, in sentences. */

import type { TransferView } from "../generated/TransferView";
import { formatBytes, formatDuration, formatRate } from "./format";
import { words } from "./words";

/** Who is at the other end. */
export function peerText(transfer: TransferView): string {
  const name = transfer.member_name || words.call.nameless;
  if (!transfer.outgoing) return words.files.from(name);
  return transfer.member === null ? words.files.toEverybody : words.files.to(name);
}

/** What is sent: `Folder, 12 files, 3.4 MB`. */
export function contentText({ is_folder, files, size_bytes }: TransferView): string {
  const parts = [
    is_folder && words.files.folder,
    (files > 1 || is_folder) && words.files.count(files),
    formatBytes(size_bytes),
  ];
  return parts.filter(Boolean).join(", ");
}

/** How it is doing. */
export function stateText(transfer: TransferView): string {
  const said = words.files.states;
  const { state } = transfer;
  const name = transfer.member_name || words.call.nameless;
  const amount = said.of(formatBytes(transfer.done_bytes), formatBytes(transfer.size_bytes));
  switch (state.state) {
    case "preparing":
      return said.preparing;
    case "offered":
      return said.offered(name);
    case "asking":
      return said.asking;
    case "running":
      return runningText(transfer, amount);
    case "paused":
      return `${state.by_me ? said.pausedByMe : said.pausedBy(name)}, ${amount}`;
    case "interrupted":
      return said.interrupted;
    case "done":
      return `${transfer.outgoing ? said.sent : said.received}, ${formatBytes(transfer.size_bytes)}`;
    case "declined":
      return transfer.outgoing ? said.declinedBy(name) : said.declinedByMe;
    case "cancelled":
      return state.by_me ? said.cancelledByMe : said.cancelledBy(name);
    case "failed":
      return words.errors[state.code];
  }
}

function runningText(transfer: TransferView, amount: string): string {
  if (transfer.rate_bytes_per_s === 0) {
    return transfer.done_bytes === 0 ? words.files.states.starting : amount;
  }
  const parts = [amount, formatRate(transfer.rate_bytes_per_s)];
  if (transfer.remaining_s !== null) {
    parts.push(words.files.states.left(formatDuration(transfer.remaining_s)));
  }
  return parts.join(", ");
}
