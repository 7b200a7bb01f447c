/** People who write, send files and react without being there: data and behaviour for the fake. */

import type { ChatMessageView } from "../generated/ChatMessageView";
import type { TransferView } from "../generated/TransferView";
import type { UiCommand } from "../generated/UiCommand";
import { transferKey } from "../state/transfers";

/** 14:02 on a Monday, wherever one is. */
const START_MS = new Date(2026, 2, 2, 14, 2).getTime();

let made = 0;

/** A message of Ada's unless said otherwise; each later than the one made before. */
export function fakeMessage(text: string, more: Partial<ChatMessageView> = {}): ChatMessageView {
  made += 1;
  const order = String(made).padStart(8, "0");
  return {
    id: `message-${order}`,
    order,
    from: 2,
    name: "Ada",
    mine: false,
    text,
    sent_at_ms: START_MS + made * 20_000,
    delivery: "delivered",
    ...more,
  };
}

/** A message of one's own. */
export function ownMessage(text: string, more: Partial<ChatMessageView> = {}): ChatMessageView {
  return fakeMessage(text, { from: 1, name: "Mina", mine: true, ...more });
}

/** A running transfer from Ada unless said otherwise. */
export function fakeTransfer(more: Partial<TransferView> = {}): TransferView {
  made += 1;
  return {
    offer: made.toString(16).padStart(32, "0"),
    outgoing: false,
    member: 2,
    member_name: "Ada",
    name: "Plan of the house.pdf",
    files: 1,
    is_folder: false,
    size_bytes: 8_400_000,
    done_bytes: 0,
    rate_bytes_per_s: 0,
    remaining_s: null,
    state: { state: "running" },
    path: null,
    ...more,
  };
}

export function conversation(): ChatMessageView[] {
  const ben = { from: 3, name: "Ben Okafor" };
  return [
    fakeMessage("Good afternoon! Can everybody hear me?"),
    fakeMessage("Agenda:\n1. The new plan\n2. Who writes to the city", ben),
    fakeMessage(
      "The plan is at https://plans.example.org/house/42?view=garden (second page).",
      ben,
    ),
    ownMessage("Thanks, I have it open."),
    ownMessage("The garden is much larger than I thought 🌿"),
    fakeMessage("Wait until you see the cellar."),
    ownMessage("Shall we look at it together?", { delivery: "partly" }),
  ];
}

/** A transfer in each state, oldest first. */
export function allTransfers(): TransferView[] {
  const ben = { member: 3, member_name: "Ben Okafor" };
  const size_bytes = 734_003_200;
  return [
    fakeTransfer({
      name: "Notes.txt",
      size_bytes: 2_318,
      state: { state: "declined" },
      outgoing: true,
    }),
    fakeTransfer({
      name: "Old.iso",
      size_bytes,
      state: { state: "cancelled", by_me: false },
      ...ben,
    }),
    fakeTransfer({
      name: "Backup.tar.zst",
      size_bytes: 48_318_382_080,
      state: { state: "failed", code: "disk_full" },
    }),
    fakeTransfer({
      name: "Garden, seen from the street.jpg",
      size_bytes: 3_481_002,
      done_bytes: 3_481_002,
      state: { state: "done" },
      path: "/data/mina/Downloads/Garden, seen from the street.jpg",
    }),
    fakeTransfer({
      name: "Minutes.md",
      state: { state: "preparing" },
      outgoing: true,
      member: null,
    }),
    fakeTransfer({ name: "Song.flac", state: { state: "offered" }, outgoing: true, ...ben }),
    fakeTransfer({
      name: "Walk through the house.mp4",
      size_bytes,
      done_bytes: 301_989_888,
      state: { state: "paused", by_me: false },
      outgoing: true,
      ...ben,
    }),
    fakeTransfer({
      name: "Photos of the site",
      is_folder: true,
      files: 214,
      size_bytes,
      done_bytes: 90_177_536,
      state: { state: "interrupted" },
    }),
    fakeTransfer({
      done_bytes: 5_100_000,
      rate_bytes_per_s: 1_240_000,
      remaining_s: 3,
    }),
  ];
}

export function offers(): TransferView[] {
  const asking = { state: { state: "asking" } } as const;
  return [
    fakeTransfer({
      ...asking,
      name: "Photos of the site",
      is_folder: true,
      files: 214,
      size_bytes: 734_003_200,
    }),
    fakeTransfer({
      ...asking,
      name: "Contract (signed).pdf",
      member: 3,
      member_name: "Ben Okafor",
    }),
  ];
}

/** Share of a file that arrives at every step. */
const STEP = 0.125;

/** A running transfer a moment later. */
export function advance(transfer: TransferView): TransferView {
  if (transfer.state.state === "offered") return { ...transfer, state: { state: "running" } };
  if (transfer.state.state !== "running") return transfer;
  const done_bytes = Math.min(
    transfer.size_bytes,
    transfer.done_bytes + transfer.size_bytes * STEP,
  );
  if (done_bytes >= transfer.size_bytes) {
    const path = transfer.outgoing ? null : `/data/mina/Downloads/${transfer.name}`;
    return { ...transfer, done_bytes, rate_bytes_per_s: 0, state: { state: "done" }, path };
  }
  const rate_bytes_per_s = Math.round(transfer.size_bytes * STEP);
  const remaining_s = Math.ceil((transfer.size_bytes - done_bytes) / rate_bytes_per_s);
  return { ...transfer, done_bytes, rate_bytes_per_s, remaining_s };
}

/** The transfers after a command about one of them. */
export function commandTransfers(
  transfers: readonly TransferView[],
  command: UiCommand,
): TransferView[] {
  if (!("offer" in command)) return [...transfers];
  const key = transferKey(command);
  return transfers.flatMap((one) => {
    if (transferKey(one) !== key) return [one];
    switch (command.type) {
      case "accept_files":
        return [{ ...one, state: { state: "running" } }];
      case "decline_files":
        return [{ ...one, state: { state: "declined" } }];
      case "pause_transfer": {
        const state = command.paused
          ? ({ state: "paused", by_me: true } as const)
          : ({ state: "running" } as const);
        return [{ ...one, state, rate_bytes_per_s: 0 }];
      }
      case "cancel_transfer":
        return [{ ...one, state: { state: "cancelled", by_me: true } }];
      case "dismiss_transfer":
        return [];
      default:
        return [one];
    }
  });
}
