import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { UiCommand } from "../generated/UiCommand";
import { configurationOf, TileDecoder } from "./decoder";
import type { Frame } from "./header";
import { ENGINE_COLOUR } from "./picture";

class FakeVideoDecoder {
  static made: FakeVideoDecoder[] = [];
  state: "unconfigured" | "configured" | "closed" = "unconfigured";
  decodeQueueSize = 0;
  chunks: string[] = [];
  configuration: VideoDecoderConfig | null = null;
  constructor(readonly init: VideoDecoderInit) {
    FakeVideoDecoder.made.push(this);
  }
  configure(configuration: VideoDecoderConfig) {
    this.configuration = configuration;
    this.state = "configured";
  }
  decode(chunk: { type: string }) {
    this.chunks.push(chunk.type);
  }
  close() {
    this.state = "closed";
  }
  putOut() {
    const frame = { displayWidth: 4, displayHeight: 2, close: vi.fn() };
    this.init.output(frame as unknown as VideoFrame);
    return frame;
  }
  breakDown() {
    this.init.error(new DOMException("Decode error", "EncodingError"));
  }
}
class FakeChunk {
  readonly type: string;
  constructor(init: { type: string }) {
    this.type = init.type;
  }
}

const frame = (more: Partial<Frame> = {}): Frame => ({
  member: 7,
  source: "camera",
  format: "vp8",
  keyframe: false,
  discontinuity: false,
  width_px: 4,
  height_px: 2,
  sequence: 1,
  timestamp_us: 0,
  epoch: 1,
  description: new Uint8Array(),
  data: new Uint8Array([1, 2, 3]),
  ...more,
});
const key = frame({ keyframe: true });
const delta = frame();

let now: number;
let commands: UiCommand[];
let shown: number;
let tile: TileDecoder;
const made = (at: number): FakeVideoDecoder => {
  const one = FakeVideoDecoder.made.at(at);
  if (!one) throw new Error("no decoder was made");
  return one;
};
const types = () => commands.map((command) => command.type);

beforeEach(() => {
  FakeVideoDecoder.made = [];
  vi.stubGlobal("VideoDecoder", FakeVideoDecoder);
  vi.stubGlobal("EncodedVideoChunk", FakeChunk);
  now = 0;
  commands = [];
  shown = 0;
  tile = new TileDecoder(
    { member: 7, source: "camera" },
    {
      dispatch: (command) => commands.push(command),
      show: () => (shown += 1),
      now_ms: () => now,
    },
  );
});
afterEach(() => {
  vi.unstubAllGlobals();
});

describe("decoding", () => {
  it("drops deltas until a keyframe and asks for one, not too often", () => {
    tile.handleFrame(delta);
    tile.handleFrame(delta);
    expect(FakeVideoDecoder.made).toHaveLength(0);
    expect(commands).toEqual([{ type: "need_keyframe", member: 7, source: "camera" }]);
    now = 600;
    tile.handleFrame(delta);
    expect(commands).toHaveLength(2);
    tile.handleFrame(key);
    tile.handleFrame(delta);
    expect(made(0).chunks).toEqual(["key", "delta"]);
    made(0).putOut();
    expect(shown).toBe(1);
  });

  it("keeps one decoder over keyframes of one configuration, makes one for another", () => {
    tile.handleFrame(key);
    tile.handleFrame(key);
    expect(FakeVideoDecoder.made).toHaveLength(1);
    tile.handleFrame(frame({ keyframe: true, format: "vp9" }));
    expect(FakeVideoDecoder.made).toHaveLength(2);
    expect(made(0).state).toBe("closed");
    const late = made(0).putOut();
    expect(late.close).toHaveBeenCalled();
    expect(shown).toBe(0);
  });

  it("skips to a keyframe after missing frames and when it cannot keep up", () => {
    tile.handleFrame(key);
    tile.handleFrame(frame({ discontinuity: true }));
    expect(made(0).chunks).toEqual(["key"]);
    expect(types()).toEqual(["need_keyframe"]);
    now = 1000;
    tile.handleFrame(frame({ keyframe: true, discontinuity: true }));
    made(1).putOut();
    made(1).decodeQueueSize = 31;
    tile.handleFrame(delta);
    expect(made(1).state).toBe("closed");
    expect(types()).toEqual(["need_keyframe", "need_keyframe"]);
  });

  it("waits for a keyframe after a reset", () => {
    tile.handleFrame(key);
    tile.reset();
    expect(made(0).state).toBe("closed");
    tile.handleFrame(delta);
    expect(made(0).chunks).toEqual(["key"]);
  });
});

describe("giving up", () => {
  it("starts over after an error and wants I420 after three", () => {
    for (let round = 0; round < 3; round += 1) {
      now += 1000;
      tile.handleFrame(key);
      made(-1).breakDown();
    }
    expect(commands).toEqual([
      { type: "need_keyframe", member: 7, source: "camera" },
      { type: "need_keyframe", member: 7, source: "camera" },
      { type: "set_delivery", member: 7, source: "camera", delivery: "i420" },
    ]);
    tile.handleFrame(key);
    expect(FakeVideoDecoder.made).toHaveLength(3);
  });

  it("forgives errors after many pictures", () => {
    for (let round = 0; round < 4; round += 1) {
      now += 1000;
      tile.handleFrame(key);
      for (let picture = 0; picture < 300; picture += 1) made(-1).putOut();
      made(-1).breakDown();
    }
    expect(types()).not.toContain("set_delivery");
  });

  it("counts a codec that cannot be configured as an error", () => {
    vi.spyOn(FakeVideoDecoder.prototype, "configure").mockImplementation(() => {
      throw new TypeError("no");
    });
    for (let round = 0; round < 3; round += 1) tile.handleFrame(key);
    expect(types()).toContain("set_delivery");
  });

  it("wants I420 when nothing comes out within three seconds", () => {
    tile.handleFrame(key);
    now = 2999;
    tile.tick();
    expect(commands).toEqual([]);
    now = 3000;
    tile.tick();
    expect(types()).toEqual(["set_delivery"]);
    expect(made(0).state).toBe("closed");
  });

  it("stays with a decoder that put something out, however quiet the sender", () => {
    tile.handleFrame(key);
    made(0).putOut();
    now = 60_000;
    tile.tick();
    expect(commands).toEqual([]);
  });

  it("wants I420 at once without WebCodecs, and repeats itself only while it is not heard", () => {
    vi.stubGlobal("VideoDecoder", undefined);
    tile.handleFrame(key);
    tile.handleFrame(delta);
    expect(types()).toEqual(["set_delivery"]);
    now = 2000;
    tile.handleFrame(delta);
    expect(types()).toEqual(["set_delivery", "set_delivery"]);
  });
});

it("shows I420 frames whose size and bytes agree", () => {
  vi.stubGlobal("VideoFrame", vi.fn());
  tile.handleFrame(frame({ format: "i420", data: new Uint8Array(12) }));
  tile.handleFrame(frame({ format: "i420", data: new Uint8Array(11) }));
  tile.handleFrame(frame({ format: "i420", width_px: 0, data: new Uint8Array() }));
  expect(shown).toBe(1);
  expect(commands).toEqual([]);
});

it("configures H.264 from its avcC", () => {
  const description = Uint8Array.from([1, 0x42, 0xc0, 0x1e, 0xff]);
  expect(configurationOf(frame({ format: "h264", keyframe: true, description }))).toEqual({
    codec: "avc1.42c01e",
    description,
    codedWidth: 4,
    codedHeight: 2,
    colorSpace: ENGINE_COLOUR,
    optimizeForLatency: true,
  });
});
