/** What the views show of files on their way, and what can be done about them. Pure. */

import type { TransferView } from "../generated/TransferView";
import type { UiCommand } from "../generated/UiCommand";
import type { State } from "./reduce";

/** Names a transfer: an offer to several members is several transfers. */
export function transferKey({ offer, member }: Pick<TransferView, "offer" | "member">): string {
  return `${offer}/${String(member ?? "")}`;
}

/** All transfers, the newest first. */
export function transfersOf(state: State): TransferView[] {
  return (state.view?.call?.transfers ?? []).toReversed();
}

/** Offers that wait for the person's answer, oldest first, without those put off. */
export function questionsOf(state: State): TransferView[] {
  return (state.view?.call?.transfers ?? []).filter(
    (one) => one.state.state === "asking" && !state.postponed.has(transferKey(one)),
  );
}

export type TransferAction =
  "accept" | "accept_to" | "decline" | "pause" | "resume" | "cancel" | "reveal" | "dismiss";

/** What can be done about a transfer, in the order of its buttons. */
export function actionsOf({ state, member, path }: TransferView): TransferAction[] {
  switch (state.state) {
    case "asking":
      return ["accept", "accept_to", "decline"];
    case "preparing":
    case "offered":
    case "interrupted":
      return ["cancel"];
    case "running":
      return member === null ? ["cancel"] : ["pause", "cancel"];
    case "paused":
      return state.by_me ? ["resume", "cancel"] : ["cancel"];
    case "done":
      return path === null ? ["dismiss"] : ["reveal", "dismiss"];
    case "declined":
    case "cancelled":
    case "failed":
      return ["dismiss"];
  }
}

/** What an action asks of the engine or the shell; `null` where it does not fit the transfer. */
export function commandOf(action: TransferAction, transfer: TransferView): UiCommand | null {
  const { offer, member, path } = transfer;
  switch (action) {
    case "accept":
      return member === null ? null : { type: "accept_files", offer, member, folder: null };
    case "accept_to":
      return member === null ? null : { type: "pick_folder", offer, member };
    case "decline":
      return member === null ? null : { type: "decline_files", offer, member };
    case "pause":
    case "resume":
      return member === null
        ? null
        : { type: "pause_transfer", offer, member, paused: action === "pause" };
    case "cancel":
      return { type: "cancel_transfer", offer, member };
    case "reveal":
      return path === null ? null : { type: "reveal_file", path };
    case "dismiss":
      return { type: "dismiss_transfer", offer, member };
  }
}

/** How far a transfer is, 0 to 1; `null` where a bar would say nothing. */
export function progressOf({ state, done_bytes, size_bytes }: TransferView): number | null {
  switch (state.state) {
    case "preparing":
    case "running":
    case "paused":
    case "interrupted":
      return size_bytes > 0 ? Math.min(1, Math.max(0, done_bytes / size_bytes)) : 0;
    default:
      return null;
  }
}

/** How far all running transfers are together, 0 to 1; `null` when none runs. */
export function overallProgress(state: State): number | null {
  const running = transfersOf(state).filter(
    (one) => one.state.state === "running" || one.state.state === "interrupted",
  );
  if (running.length === 0) return null;
  const size = running.reduce((sum, one) => sum + one.size_bytes, 0);
  const done = running.reduce((sum, one) => sum + one.done_bytes, 0);
  return size > 0 ? Math.min(1, Math.max(0, done / size)) : 0;
}

export type FileKind =
  "file" | "files" | "folder" | "image" | "film" | "sound" | "archive" | "document";

const KINDS: readonly (readonly [FileKind, readonly string[]])[] = [
  [
    "image",
    ["png", "jpg", "jpeg", "gif", "webp", "avif", "heic", "svg", "bmp", "tif", "tiff", "raw"],
  ],
  ["film", ["mp4", "mkv", "mov", "webm", "avi", "m4v", "y4m", "mpg", "mpeg"]],
  ["sound", ["mp3", "wav", "flac", "ogg", "opus", "m4a", "aac", "mid"]],
  ["archive", ["zip", "tar", "gz", "tgz", "xz", "zst", "bz2", "7z", "rar", "iso", "dmg"]],
  ["document", ["pdf", "txt", "md", "doc", "docx", "odt", "rtf", "pages", "csv", "xls", "xlsx"]],
  ["document", ["ods", "ppt", "pptx", "odp", "key", "epub", "tex", "html"]],
];

/** What kind of thing is sent, by the ending of its name: enough for a picture beside it. */
export function fileKind({
  name,
  files,
  is_folder,
}: Pick<TransferView, "name" | "files" | "is_folder">): FileKind {
  if (is_folder) return "folder";
  if (files > 1) return "files";
  const ending = /\.([^.]+)$/u.exec(name)?.[1]?.toLowerCase() ?? "";
  return KINDS.find(([, endings]) => endings.includes(ending))?.[0] ?? "file";
}
