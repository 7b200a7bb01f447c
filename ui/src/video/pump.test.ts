import { beforeEach, describe, expect, it, vi } from "vitest";
import type { UiCommand } from "../generated/UiCommand";
import { writeFrame, type Frame } from "./header";
import { Pump, SILENCE_MS } from "./pump";

const frame = (epoch: number, sequence = 1): Frame => ({
  member: 7,
  source: "camera",
  format: "vp8",
  keyframe: true,
  discontinuity: false,
  width_px: 4,
  height_px: 2,
  sequence,
  timestamp_us: 0,
  epoch,
  description: new Uint8Array(),
  data: new Uint8Array([1, 2, 3]),
});
const message = (...frames: Frame[]) =>
  Uint8Array.from(frames.flatMap((one) => Array.from(writeFrame(one)))).buffer;

let commands: UiCommand[];
let drawn: Frame[];
let attach: ReturnType<typeof vi.fn<() => void>>;
let onReset: ReturnType<typeof vi.fn<() => void>>;
let pump: Pump;

beforeEach(() => {
  commands = [];
  drawn = [];
  attach = vi.fn();
  onReset = vi.fn();
  pump = new Pump({
    dispatch: (command) => commands.push(command),
    attach,
    onReset,
    onFrame: (one) => drawn.push(one),
  });
});

describe("credits", () => {
  it("returns one per message, however many frames it holds", () => {
    pump.handleEpoch(3);
    pump.handleMessage(message(frame(3), frame(3, 2)), 0);
    expect(drawn.map((one) => one.sequence)).toEqual([1, 2]);
    expect(commands).toEqual([{ type: "frame_credit", epoch: 3, messages: 1 }]);
  });

  it("returns one for a number array, a broken and a foreign message", () => {
    pump.handleEpoch(3);
    pump.handleMessage(Array.from(new Uint8Array(message(frame(3)))), 0);
    pump.handleMessage(new ArrayBuffer(7), 0);
    pump.handleMessage("what", 0);
    expect(drawn).toHaveLength(1);
    expect(commands).toHaveLength(3);
    expect(onReset).toHaveBeenCalledTimes(2); // the epoch, the broken message
  });

  it("returns one even when drawing throws", () => {
    pump = new Pump({
      dispatch: (command) => commands.push(command),
      attach,
      onReset,
      onFrame: () => {
        throw new Error("a decoder's");
      },
    });
    pump.handleMessage(message(frame(1)), 0);
    expect(commands).toEqual([{ type: "frame_credit", epoch: 1, messages: 1 }]);
  });
});

describe("epochs", () => {
  it("draws nothing of an old epoch but credits it there", () => {
    pump.handleEpoch(4);
    pump.handleMessage(message(frame(3)), 0);
    expect(drawn).toEqual([]);
    expect(commands).toEqual([{ type: "frame_credit", epoch: 3, messages: 1 }]);
  });

  it("takes a new epoch from a frame that overtakes the event", () => {
    pump.handleEpoch(4);
    pump.handleMessage(message(frame(5)), 0);
    pump.handleEpoch(5);
    expect(drawn).toHaveLength(1);
    expect(onReset).toHaveBeenCalledTimes(2);
  });
});

describe("watchdog", () => {
  it("replaces a channel that is silent for two seconds, then ever later", () => {
    pump.expectFrames(true, 0);
    pump.tick(SILENCE_MS - 1);
    expect(attach).not.toHaveBeenCalled();
    pump.tick(SILENCE_MS);
    expect(attach).toHaveBeenCalledTimes(1);
    pump.tick(2 * SILENCE_MS);
    expect(attach).toHaveBeenCalledTimes(1);
    pump.tick(3 * SILENCE_MS);
    expect(attach).toHaveBeenCalledTimes(2);
  });

  it("is calmed by messages", () => {
    pump.expectFrames(true, 0);
    for (let now = 0; now < 10_000; now += 500) {
      pump.handleMessage(message(frame(1)), now);
      pump.expectFrames(true, now);
      pump.tick(now);
    }
    expect(attach).not.toHaveBeenCalled();
    pump.tick(9500 + SILENCE_MS);
    expect(attach).toHaveBeenCalledTimes(1);
  });

  it("sleeps while no frames are expected and counts anew afterwards", () => {
    pump.expectFrames(true, 0);
    pump.expectFrames(false, 1000);
    pump.tick(60_000);
    expect(attach).not.toHaveBeenCalled();
    pump.expectFrames(true, 60_000);
    pump.tick(60_000 + SILENCE_MS - 1);
    expect(attach).not.toHaveBeenCalled();
    pump.tick(60_000 + SILENCE_MS);
    expect(attach).toHaveBeenCalledTimes(1);
  });
});
