import { beforeEach, expect, it, vi } from "vitest";
import type { UiEvent } from "../generated/UiEvent";
import { TauriBackend } from "./tauri";

type Handler = (message: unknown) => void;
const tauri = vi.hoisted(() => ({
  invoke: vi.fn<(name: string, args: Record<string, unknown>) => Promise<unknown>>(),
  channels: [] as Handler[],
}));
vi.mock("@tauri-apps/api/core", () => ({
  invoke: tauri.invoke,
  Channel: vi.fn(function (handler: Handler) {
    tauri.channels.push(handler);
  }),
}));

let events: UiEvent[];
let frames: unknown[];
let backend: TauriBackend;
const sink = {
  handleEvent: (event: UiEvent) => events.push(event),
  handleFrames: (body: unknown) => frames.push(body),
};

beforeEach(async () => {
  events = [];
  frames = [];
  tauri.channels = [];
  tauri.invoke.mockReset().mockResolvedValue(null);
  backend = new TauriBackend();
  await backend.attach(sink);
});

it("attaches with an event and a frame channel and passes both on", () => {
  expect(tauri.invoke.mock.calls[0]?.[0]).toBe("attach");
  expect(Object.keys(tauri.invoke.mock.calls[0]?.[1] ?? {})).toEqual(["events", "frames"]);
  const [event, frame] = tauri.channels;
  event?.({ type: "frame_epoch", epoch: 1 });
  event?.('{"type":"frame_epoch","epoch":2}');
  event?.("{broken");
  event?.(null);
  frame?.([1, 2]);
  expect(events).toEqual([
    { type: "frame_epoch", epoch: 1 },
    { type: "frame_epoch", epoch: 2 },
  ]);
  expect(frames).toEqual([[1, 2]]);
});

it("passes on frames but no events of an earlier attachment", async () => {
  await backend.attach(sink);
  const [oldEvent, oldFrame, event] = tauri.channels;
  oldEvent?.({ type: "frame_epoch", epoch: 1 });
  oldFrame?.([1]);
  event?.({ type: "frame_epoch", epoch: 2 });
  expect(events).toEqual([{ type: "frame_epoch", epoch: 2 }]);
  expect(frames).toEqual([[1]]);
});

it("keeps commands in order, credits overtake", async () => {
  let release: (value: unknown) => void = () => undefined;
  const held = new Promise((resolve) => (release = resolve));
  tauri.invoke.mockReset().mockImplementation((_, args) => {
    const { type } = args.command as { type: string };
    return type === "set_name" ? held : Promise.resolve(null);
  });
  const name = backend.dispatch({ type: "set_name", name: "Ada" });
  const start = backend.dispatch({ type: "start_call" });
  await backend.dispatch({ type: "frame_credit", epoch: 1, messages: 1 });
  const sent = () =>
    tauri.invoke.mock.calls.map(([, args]) => (args.command as { type: string }).type);
  expect(sent().sort()).toEqual(["frame_credit", "set_name"]);
  release(null);
  await Promise.all([name, start]);
  expect(sent().at(-1)).toBe("start_call");
});

it.each([
  [{ code: "code_invalid", detail: "…" }, "code_invalid"],
  ["server_unreachable", "server_unreachable"],
  ["command dispatch not found", "internal"],
  [undefined, "internal"],
])("turns the rejection %j into the failure %s", async (rejection, code) => {
  tauri.invoke.mockRejectedValueOnce(rejection);
  await backend.dispatch({ type: "join_call", code: "x" });
  expect(events).toEqual([{ type: "failed", code }]);
});

it("does not bother anybody with failures of what nobody asked for", async () => {
  tauri.invoke.mockRejectedValueOnce({ code: "bad_state" });
  await backend.dispatch({ type: "set_visible_tiles", tiles: [] });
  expect(events).toEqual([]);
});
