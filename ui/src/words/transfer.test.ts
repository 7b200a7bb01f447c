import { expect, it } from "vitest";
import { fakeTransfer } from "../backend/fake-chat";
import type { TransferState } from "../generated/TransferState";
import type { TransferView } from "../generated/TransferView";
import { contentText, peerText, stateText } from "./transfer";

const plain = (text: string) => text.replaceAll("\u00a0", " ");
const half = { size_bytes: 2_000_000, done_bytes: 1_000_000 };

it.each<[TransferState, Partial<TransferView>, string]>([
  [{ state: "preparing" }, { member: null, outgoing: true }, "Reading…"],
  [{ state: "offered" }, { outgoing: true }, "Waiting for Ada to accept"],
  [{ state: "asking" }, {}, "Waits for your answer"],
  [{ state: "running" }, {}, "Starting…"],
  [{ state: "running" }, half, "1.0 MB of 2.0 MB"],
  [
    { state: "running" },
    { ...half, rate_bytes_per_s: 250_000, remaining_s: 4 },
    "1.0 MB of 2.0 MB, 250 kB/s, 4 s left",
  ],
  [{ state: "running" }, { ...half, rate_bytes_per_s: 9 }, "1.0 MB of 2.0 MB, 9 B/s"],
  [{ state: "paused", by_me: true }, half, "Paused, 1.0 MB of 2.0 MB"],
  [{ state: "paused", by_me: false }, half, "Paused by Ada, 1.0 MB of 2.0 MB"],
  [{ state: "interrupted" }, half, "No connection, goes on by itself"],
  [{ state: "done" }, { ...half, outgoing: true }, "Sent, 2.0 MB"],
  [{ state: "done" }, half, "Saved, 2.0 MB"],
  [{ state: "declined" }, { outgoing: true }, "Ada declined"],
  [{ state: "declined" }, {}, "You declined"],
  [{ state: "cancelled", by_me: true }, {}, "You cancelled"],
  [{ state: "cancelled", by_me: false }, { member_name: "" }, "Guest cancelled"],
  [{ state: "failed", code: "disk_full" }, {}, "There is not enough free space on the disk."],
])("%j %j: %s", (state, more, text) => {
  expect(plain(stateText(fakeTransfer({ state, ...more })))).toBe(text);
});

it("tells what is sent and who is at the other end", () => {
  const folder = fakeTransfer({ is_folder: true, files: 1, size_bytes: 0 });
  expect(plain(contentText(folder))).toBe("Folder, 1 file, 0 B");
  expect(plain(contentText(fakeTransfer({ files: 3 })))).toBe("3 files, 8.4 MB");
  expect(plain(contentText(fakeTransfer()))).toBe("8.4 MB");
  expect(peerText(fakeTransfer())).toBe("From Ada");
  expect(peerText(fakeTransfer({ outgoing: true }))).toBe("To Ada");
  expect(peerText(fakeTransfer({ outgoing: true, member: null }))).toBe("To everybody");
});
