import { describe, expect, it } from "vitest";
import { fakeTransfer, offers } from "../backend/fake-chat";
import { callView, fakeMember, homeView } from "../backend/fake-scenes";
import type { TransferState } from "../generated/TransferState";
import type { TransferView } from "../generated/TransferView";
import { initialState, postpone, reduce } from "./reduce";
import {
  actionsOf,
  commandOf,
  fileKind,
  overallProgress,
  progressOf,
  questionsOf,
  transferKey,
  transfersOf,
} from "./transfers";

const seen = (transfers: TransferView[]) =>
  reduce(initialState, {
    type: "view",
    view: { ...homeView(), call: callView([fakeMember(0)], { transfers }) },
  });

it.each<[TransferState, Partial<TransferView>, string[]]>([
  [{ state: "asking" }, {}, ["accept", "accept_to", "decline"]],
  [{ state: "preparing" }, { member: null, outgoing: true }, ["cancel"]],
  [{ state: "offered" }, { outgoing: true }, ["cancel"]],
  [{ state: "running" }, {}, ["pause", "cancel"]],
  [{ state: "paused", by_me: true }, {}, ["resume", "cancel"]],
  [{ state: "paused", by_me: false }, {}, ["cancel"]],
  [{ state: "interrupted" }, {}, ["cancel"]],
  [{ state: "done" }, { path: "/x/y" }, ["reveal", "dismiss"]],
  [{ state: "done" }, { outgoing: true }, ["dismiss"]],
  [{ state: "declined" }, {}, ["dismiss"]],
  [{ state: "cancelled", by_me: false }, {}, ["dismiss"]],
  [{ state: "failed", code: "disk_full" }, {}, ["dismiss"]],
])("%j %j can be: %j", (state, more, actions) => {
  const transfer = fakeTransfer({ state, ...more });
  expect(actionsOf(transfer)).toEqual(actions);
  // Every button does something.
  for (const action of actionsOf(transfer)) expect(commandOf(action, transfer)).not.toBeNull();
});

it("asks for what its buttons say", () => {
  const transfer = fakeTransfer({ offer: "ab", member: 7, path: "/x/y" });
  expect(commandOf("accept", transfer)).toEqual({
    type: "accept_files",
    offer: "ab",
    member: 7,
    folder: null,
  });
  expect(commandOf("accept_to", transfer)?.type).toBe("pick_folder");
  expect(commandOf("pause", transfer)).toMatchObject({ type: "pause_transfer", paused: true });
  expect(commandOf("resume", transfer)).toMatchObject({ type: "pause_transfer", paused: false });
  expect(commandOf("reveal", transfer)).toEqual({ type: "reveal_file", path: "/x/y" });
  const prepared = { ...transfer, member: null };
  expect(commandOf("cancel", prepared)).toMatchObject({ type: "cancel_transfer", member: null });
  expect(commandOf("pause", prepared)).toBeNull();
});

describe("questions", () => {
  it("come in the order of the offers, without those put off", () => {
    const [first, second] = offers();
    if (!first || !second) throw new Error("two offers");
    const state = seen([fakeTransfer(), first, second]);
    expect(questionsOf(state)).toEqual([first, second]);
    expect(questionsOf(postpone(state, transferKey(first)))).toEqual([second]);
    // They are not lost: the list still has them, the newest first.
    expect(transfersOf(postpone(state, transferKey(first)))[1]).toEqual(first);
  });
  it("are forgotten with the call", () => {
    const state = postpone(seen([]), "x/1");
    expect(reduce(state, { type: "view", view: homeView() }).postponed.size).toBe(0);
  });
});

describe("progress", () => {
  const of = (done_bytes: number, size_bytes: number, state: TransferState) =>
    fakeTransfer({ done_bytes, size_bytes, state });
  it("stays between nothing and all, also of empty files", () => {
    expect(progressOf(of(50, 200, { state: "running" }))).toBe(0.25);
    expect(progressOf(of(300, 200, { state: "paused", by_me: true }))).toBe(1);
    expect(progressOf(of(0, 0, { state: "running" }))).toBe(0);
    expect(progressOf(of(0, 200, { state: "offered" }))).toBeNull();
    expect(progressOf(of(200, 200, { state: "done" }))).toBeNull();
  });
  it("of all counts what runs, by size", () => {
    expect(overallProgress(seen([of(1, 2, { state: "done" })]))).toBeNull();
    const running = [of(100, 100, { state: "running" }), of(0, 300, { state: "interrupted" })];
    expect(overallProgress(seen([...running, of(0, 900, { state: "asking" })]))).toBe(0.25);
  });
});

it.each([
  ["a.PNG", {}, "image"],
  ["film.webm", {}, "film"],
  ["x.flac", {}, "sound"],
  ["backup.tar.gz", {}, "archive"],
  ["letter.pdf", {}, "document"],
  ["Makefile", {}, "file"],
  ["x.exe", {}, "file"],
  ["a.png", { files: 3 }, "files"],
  ["photos.png", { is_folder: true, files: 3 }, "folder"],
])("%s %j is a kind of %s", (name, more, kind) => {
  expect(fileKind({ name, files: 1, is_folder: false, ...more })).toBe(kind);
});
