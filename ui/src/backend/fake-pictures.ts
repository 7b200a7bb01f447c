/**
 * Draws people who do not exist and sends them as the engine would: VP8 by WebCodecs where the
 * browser encodes, I420 otherwise and for one's own picture; at most four messages in flight.
 */

import type { MemberId } from "../generated/MemberId";
import { SELF_MEMBER, writeFrame, type Frame } from "../video/header";
import { tileKey, type TileId } from "../video/tile";
import { LOOP_SIZE, LoopPlayer, recordLoop, type LoopFrame } from "./fake-loop";
import { drawScreen } from "./fake-shares";
import { ENGINE_COLOUR } from "../video/picture";
import { rgbaToI420 } from "../video/yuv";

const FRAME_MS = 66;
const MOST_IN_FLIGHT = 4;
/** A crowd's pictures do not come all at once: so many times in the time of a frame. */
const TURNS = 5;

/** Background from and to, skin, hair, clothes. */
const LOOKS = [
  ["#2b3a67", "#7ea0c4", "#e8b796", "#3a2a24", "#35a29f"],
  ["#4a2545", "#c98b9b", "#8d5a3b", "#1c1412", "#e0b04b"],
  ["#1f4d45", "#9cc5a1", "#f0c9a8", "#b5622f", "#f1f1ee"],
  ["#3d3a50", "#a9a4c6", "#dba483", "#5b4636", "#5865c3"],
  ["#5a3b28", "#e0b98a", "#c98f67", "#20150f", "#7a2e39"],
  ["#20415a", "#8fc1d4", "#6f452d", "#120d0b", "#ef8354"],
  ["#404b2f", "#c5cf9b", "#f3d3b8", "#d9b45b", "#2f5d62"],
  ["#532e3c", "#e3a5a0", "#e6bb94", "#15110f", "#274060"],
  ["#22303c", "#8f9fb0", "#efc3a0", "#6a3b2a", "#9a4c95"],
] as const;

class Person {
  private readonly canvas: OffscreenCanvas;
  private readonly context: OffscreenCanvasRenderingContext2D | null;
  private readonly width: number;
  private readonly height: number;
  private encoder: VideoEncoder | null = null;
  private sequence = 0;
  wantsKeyframe = true;

  constructor(
    readonly id: TileId,
    private readonly emit: (frame: Omit<Frame, "epoch">) => void,
  ) {
    [this.width, this.height] = id.source === "screen" ? [1280, 720] : [480, 270];
    this.canvas = new OffscreenCanvas(this.width, this.height);
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
  }

  step(now_ms: number, encoded: boolean): void {
    if (!this.context) return;
    if (this.id.source === "screen") drawScreen(this.context, this.width, this.height, now_ms);
    else draw(this.context, this.width, this.height, this.id.member, now_ms);
    if (encoded && typeof VideoEncoder === "function") this.encode(now_ms);
    else this.sendI420(now_ms);
  }

  close(): void {
    if (this.encoder && this.encoder.state !== "closed") this.encoder.close();
    this.encoder = null;
  }

  private header(now_ms: number) {
    this.sequence += 1;
    return {
      member: this.id.member,
      source: this.id.source,
      discontinuity: false,
      width_px: this.width,
      height_px: this.height,
      sequence: this.sequence,
      timestamp_us: Math.round(now_ms * 1000),
      description: new Uint8Array(),
    };
  }

  private pixels(): Uint8Array<ArrayBuffer> {
    const rgba = this.context?.getImageData(0, 0, this.width, this.height).data;
    return rgbaToI420(rgba ?? new Uint8ClampedArray(), this.width, this.height);
  }

  private sendI420(now_ms: number): void {
    this.emit({ ...this.header(now_ms), format: "i420", keyframe: false, data: this.pixels() });
  }

  private encode(now_ms: number): void {
    // Made before the encoder: WebKitGTK crashes when an encoder is its first use of GStreamer.
    const frame = new VideoFrame(this.pixels(), {
      format: "I420",
      codedWidth: this.width,
      codedHeight: this.height,
      timestamp: Math.round(now_ms * 1000),
      colorSpace: ENGINE_COLOUR,
    });
    if (this.encoder?.state !== "configured") {
      this.encoder = new VideoEncoder({
        output: (chunk) => {
          const data = new Uint8Array(chunk.byteLength);
          chunk.copyTo(data);
          const keyframe = chunk.type === "key";
          this.emit({ ...this.header(chunk.timestamp / 1000), format: "vp8", keyframe, data });
        },
        error: () => undefined,
      });
      this.encoder.configure({
        codec: "vp8",
        width: this.width,
        height: this.height,
        bitrate: this.id.source === "screen" ? 3_000_000 : 600_000,
        latencyMode: "realtime",
      });
      this.wantsKeyframe = true;
    }
    this.encoder.encode(frame, { keyFrame: this.wantsKeyframe });
    this.wantsKeyframe = false;
    frame.close();
  }
}

type Source = Pick<Person, "step" | "close" | "wantsKeyframe">;

/** Sends the pictures of the wanted people until closed. */
export class FakePictures {
  private readonly people = new Map<string, Source>();
  private readonly loops = new Map<string, Promise<LoopFrame[]>>();
  private turn = 0;
  private readonly asI420 = new Set<string>();
  private wanted: readonly TileId[] = [];
  private waiting: Uint8Array<ArrayBuffer>[] = [];
  private inFlight = 0;
  private epoch = 0;
  private timer: ReturnType<typeof setInterval> | undefined;

  /** `looped`: a few people are drawn once and then played, for a crowd. */
  constructor(
    private readonly send: (message: ArrayBuffer) => void,
    private readonly looped = false,
  ) {}

  /** Starts over with an epoch. */
  start(epoch: number): void {
    this.epoch = epoch;
    this.inFlight = 0;
    this.waiting = [];
    for (const person of this.people.values()) person.wantsKeyframe = true;
    if (typeof OffscreenCanvas !== "function") return;
    this.timer ??= setInterval(
      () => {
        this.step();
      },
      this.looped ? FRAME_MS / TURNS : FRAME_MS,
    );
  }

  setWanted(tiles: readonly TileId[]): void {
    this.wanted = tiles;
    const keys = tiles.map(tileKey);
    for (const [key, person] of this.people) {
      if (keys.includes(key)) continue;
      person.close();
      this.people.delete(key);
    }
  }

  credit(epoch: number, messages: number): void {
    if (epoch === this.epoch) this.inFlight = Math.max(0, this.inFlight - messages);
  }

  keyframe(id: TileId): void {
    const person = this.people.get(tileKey(id));
    if (person) person.wantsKeyframe = true;
  }

  deliverI420(id: TileId): void {
    this.asI420.add(tileKey(id));
  }

  close(): void {
    clearInterval(this.timer);
    this.setWanted([]);
  }

  private make(id: TileId): Source {
    const emit = (frame: Omit<Frame, "epoch">) => {
      this.waiting.push(writeFrame({ ...frame, epoch: this.epoch }));
    };
    if (!this.looped) return new Person(id, emit);
    const format = id.member === SELF_MEMBER ? "i420" : "vp8";
    const look = lookOf(id.member);
    const name = `${format} ${String(look)}`;
    const { width, height } = LOOP_SIZE;
    const loop =
      this.loops.get(name) ??
      recordLoop((context, at) => {
        draw(context, width, height, look + 1, at * FRAME_MS);
      }, format);
    this.loops.set(name, loop);
    return new LoopPlayer(id, loop, emit);
  }

  private step(): void {
    const now = performance.now();
    this.turn = (this.turn + 1) % TURNS;
    for (const [at, id] of this.wanted.entries()) {
      if (this.looped && at % TURNS !== this.turn) continue;
      const key = tileKey(id);
      const person = this.people.get(key) ?? this.make(id);
      this.people.set(key, person);
      person.step(now, id.member !== SELF_MEMBER && !this.asI420.has(key));
    }
    if (this.waiting.length === 0) return;
    if (this.inFlight >= MOST_IN_FLIGHT) {
      this.waiting = [];
      for (const person of this.people.values()) person.wantsKeyframe = true;
      return;
    }
    const message = new Uint8Array(this.waiting.reduce((sum, one) => sum + one.byteLength, 0));
    let at = 0;
    for (const one of this.waiting.splice(0)) {
      message.set(one, at);
      at += one.byteLength;
    }
    this.inFlight += 1;
    this.send(message.buffer);
  }
}

type Context = OffscreenCanvasRenderingContext2D;

function ellipse(c: Context, x: number, y: number, rx: number, ry: number, fill: string): void {
  c.fillStyle = fill;
  c.beginPath();
  c.ellipse(x, y, rx, ry, 0, 0, 2 * Math.PI);
  c.fill();
}

function lookOf(member: MemberId): number {
  return member === SELF_MEMBER ? 0 : (member - 1) % LOOKS.length;
}

function draw(c: Context, width: number, height: number, member: MemberId, now_ms: number): void {
  const look = LOOKS[lookOf(member)] ?? LOOKS[0];
  const [from, to, skin, hair, clothes] = look;
  const time = now_ms / 1000 + (member % 13);
  const light = c.createLinearGradient(0, 0, width, height);
  light.addColorStop(0, to);
  light.addColorStop(1, from);
  c.fillStyle = light;
  c.fillRect(0, 0, width, height);
  c.globalAlpha = 0.12;
  for (let spot = 0; spot < 6; spot += 1) {
    const x = width * (0.5 + 0.55 * Math.sin(spot * 2.1 + time * 0.15));
    const y = height * (0.35 + 0.35 * Math.cos(spot * 1.3 + time * 0.11));
    ellipse(c, x, y, height * (0.08 + 0.03 * spot), height * (0.08 + 0.03 * spot), "#ffffff");
  }
  c.globalAlpha = 1;
  const x = width / 2 + width * 0.012 * Math.sin(time * 0.9);
  const y = height * 0.44 + height * 0.008 * Math.sin(time * 1.7);
  const unit = height / 10;
  ellipse(c, x, y + unit * 5.6, unit * 3.3, unit * 3, clothes);
  c.fillStyle = skin;
  c.fillRect(x - unit * 0.65, y + unit, unit * 1.3, unit * 1.8);
  ellipse(c, x, y + unit * 2.8, unit * 0.9, unit * 0.5, skin);
  ellipse(c, x, y - unit * 0.35, unit * 1.72, unit * 1.95, hair);
  ellipse(c, x, y + unit * 0.2, unit * 1.42, unit * 1.75, skin);
  ellipse(c, x - unit * 0.2, y - unit * 1.35, unit * 1.5, unit * 0.75, hair);
  const blink = Math.sin(time * 1.3) > 0.985 ? 0.03 : 0.14;
  ellipse(c, x - unit * 0.52, y + unit * 0.15, unit * 0.13, unit * blink, "#241a17");
  ellipse(c, x + unit * 0.52, y + unit * 0.15, unit * 0.13, unit * blink, "#241a17");
  c.strokeStyle = "#7c3f36";
  c.lineWidth = unit * 0.12;
  c.lineCap = "round";
  c.beginPath();
  c.arc(x, y + unit * 0.72, unit * 0.42, 0.25 * Math.PI, 0.75 * Math.PI);
  c.stroke();
}
