/**
 * A few seconds of people, drawn and encoded once and then played over and over: what it costs to
 * show a crowd can be measured only where making its pictures costs next to nothing.
 *
 * Not here: whose pictures are wanted and how many messages are in flight (`fake-pictures`).
 */

import { SELF_MEMBER, type Frame } from "../video/header";
import { ENGINE_COLOUR } from "../video/picture";
import type { TileId } from "../video/tile";
import { rgbaToI420 } from "../video/yuv";

/** As the smallest layer that is sent, which is what a crowd is shown in. */
export const LOOP_SIZE = { width: 320, height: 180 } as const;
/** Of a loop. Fewer repeat visibly and bring keyframes more often, more take longer to make. */
export const LOOP_FRAMES = 45;

export interface LoopFrame {
  keyframe: boolean;
  data: Uint8Array<ArrayBuffer>;
}

/** Draws the picture of a moment. */
type Draw = (context: OffscreenCanvasRenderingContext2D, at: number) => void;

/** Of one person in {@link LOOP_SIZE}. */
const BITRATE_BPS = 150_000;

/** Makes a loop: in VP8, the first a keyframe, or in I420. */
export async function recordLoop(draw: Draw, format: "vp8" | "i420"): Promise<LoopFrame[]> {
  const { width, height } = LOOP_SIZE;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  if (!context) return [];
  const frames: LoopFrame[] = [];
  let encoder: VideoEncoder | null = null;
  for (let at = 0; at < LOOP_FRAMES; at += 1) {
    draw(context, at);
    const data = rgbaToI420(context.getImageData(0, 0, width, height).data, width, height);
    if (format === "i420") {
      frames.push({ keyframe: false, data });
      continue;
    }
    const frame = new VideoFrame(data, {
      format: "I420",
      codedWidth: width,
      codedHeight: height,
      timestamp: at * 66_667,
      colorSpace: ENGINE_COLOUR,
    });
    // After the first frame: WebKitGTK crashes when an encoder is its first use of GStreamer.
    encoder ??= openEncoder(frames);
    encoder.encode(frame, { keyFrame: at === 0 });
    frame.close();
  }
  await encoder?.flush();
  encoder?.close();
  return frames;
}

function openEncoder(frames: LoopFrame[]): VideoEncoder {
  const encoder = new VideoEncoder({
    output: (chunk) => {
      const data = new Uint8Array(chunk.byteLength);
      chunk.copyTo(data);
      frames.push({ keyframe: chunk.type === "key", data });
    },
    error: () => undefined,
  });
  encoder.configure({ codec: "vp8", ...LOOP_SIZE, bitrate: BITRATE_BPS, latencyMode: "realtime" });
  return encoder;
}

/** Plays a loop as one tile's pictures. */
export class LoopPlayer {
  wantsKeyframe = true;
  private loop: LoopFrame[] = [];
  private sequence = 0;
  private at = 0;
  /** Where the loop begins anew: the first time early, so that not all keyframes come at once. */
  private end: number;

  constructor(
    private readonly id: TileId,
    loop: Promise<LoopFrame[]>,
    private readonly emit: (frame: Omit<Frame, "epoch">) => void,
  ) {
    this.end = 1 + ((id.member * 7) % LOOP_FRAMES);
    void loop.then((made) => (this.loop = made));
  }

  step(now_ms: number): void {
    if (this.at >= Math.min(this.end, this.loop.length)) {
      this.at = 0;
      this.end = LOOP_FRAMES;
    }
    if (this.wantsKeyframe) this.at = 0;
    const frame = this.loop[this.at];
    if (!frame) return;
    this.wantsKeyframe = false;
    this.at += 1;
    this.sequence += 1;
    this.emit({
      member: this.id.member,
      source: this.id.source,
      format: this.id.member === SELF_MEMBER ? "i420" : "vp8",
      keyframe: frame.keyframe,
      discontinuity: false,
      width_px: LOOP_SIZE.width,
      height_px: LOOP_SIZE.height,
      sequence: this.sequence,
      timestamp_us: Math.round(now_ms * 1000),
      description: new Uint8Array(),
      data: frame.data,
    });
  }

  close(): void {
    this.loop = [];
  }
}
