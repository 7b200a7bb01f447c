/**
 * Reads frame messages. The layout is defined in `crates/call-protocol/src/ui/frame.rs`; both
 * sides are tested against `tests/golden/frames.bin`.
 *
 * A message is a concatenation of frames: a little-endian header of 40 bytes, then the payload.
 */

import type { MediaSource } from "../generated/MediaSource";
import type { MemberId } from "../generated/MemberId";

/** Stands for one's own picture, before and in a call. */
export const SELF_MEMBER: MemberId = 0xffff_ffff;
export const HEADER_BYTES = 40;
const MAGIC = 0x3146_5656; // "VVF1"
const PICTURE_PX = 4096;
const MOST_PAYLOAD_BYTES = (PICTURE_PX * PICTURE_PX * 3) / 2;
const SOURCES = ["camera", "screen"] as const;
const FORMATS = ["vp8", "vp9", "h264", "i420"] as const;

export type FrameFormat = (typeof FORMATS)[number];

export interface Frame {
  member: MemberId;
  source: MediaSource;
  format: FrameFormat;
  /** Decodable on its own. */
  keyframe: boolean;
  /** Frames before this one are missing. */
  discontinuity: boolean;
  width_px: number;
  height_px: number;
  /** Counts the frames of the tile, modulo 2³². */
  sequence: number;
  /** Presentation time, monotonic per tile. Exact up to 2⁵³ µs. */
  timestamp_us: number;
  /** Epoch of the frame channel. */
  epoch: number;
  /** Decoder description (avcC); empty unless an H.264 keyframe. A view into the message. */
  description: Uint8Array<ArrayBuffer>;
  /** The frame after the description. A view into the message. */
  data: Uint8Array<ArrayBuffer>;
}

/** Why bytes are not a frame: fewer than announced, or a field that means nothing. */
export class FrameError extends Error {
  constructor(readonly reason: "short" | "malformed") {
    super(`frame is ${reason === "short" ? "cut short" : "malformed"}`);
    this.name = "FrameError";
  }
}

/**
 * All frames of a message. Never reads beyond it.
 *
 * @throws {FrameError} when any frame is cut short or malformed.
 */
export function readFrames(message: ArrayBuffer): Frame[] {
  const frames: Frame[] = [];
  for (let at = 0; at < message.byteLength;) {
    const frame = readFrame(message, at);
    frames.push(frame);
    at = frame.data.byteOffset + frame.data.byteLength;
  }
  return frames;
}

function readFrame(message: ArrayBuffer, at: number): Frame {
  if (message.byteLength - at < HEADER_BYTES) throw new FrameError("short");
  const head = new DataView(message, at, HEADER_BYTES);
  const length = head.getUint32(4, true);
  const source = SOURCES[head.getUint8(12)];
  const format = FORMATS[head.getUint8(13)];
  const flags = head.getUint8(14);
  const described = head.getUint8(15);
  if (
    head.getUint32(0, true) !== MAGIC ||
    source === undefined ||
    format === undefined ||
    flags > 3 ||
    length > MOST_PAYLOAD_BYTES ||
    described > length
  ) {
    throw new FrameError("malformed");
  }
  const payload = at + HEADER_BYTES;
  if (message.byteLength - payload < length) throw new FrameError("short");
  return {
    member: head.getUint32(8, true),
    source,
    format,
    keyframe: (flags & 1) !== 0,
    discontinuity: (flags & 2) !== 0,
    width_px: head.getUint16(16, true),
    height_px: head.getUint16(18, true),
    sequence: head.getUint32(20, true),
    timestamp_us: head.getUint32(24, true) + head.getUint32(28, true) * 2 ** 32,
    epoch: head.getUint32(32, true),
    description: new Uint8Array(message, payload, described),
    data: new Uint8Array(message, payload + described, length - described),
  };
}

/** Writes a frame. The engine is what writes them in the app; this serves fakes and tests. */
export function writeFrame(frame: Frame): Uint8Array<ArrayBuffer> {
  const length = frame.description.byteLength + frame.data.byteLength;
  const bytes = new Uint8Array(HEADER_BYTES + length);
  const head = new DataView(bytes.buffer);
  head.setUint32(0, MAGIC, true);
  head.setUint32(4, length, true);
  head.setUint32(8, frame.member, true);
  head.setUint8(12, frame.source === "screen" ? 1 : 0);
  head.setUint8(13, FORMATS.indexOf(frame.format));
  head.setUint8(14, (frame.keyframe ? 1 : 0) | (frame.discontinuity ? 2 : 0));
  head.setUint8(15, frame.description.byteLength);
  head.setUint16(16, frame.width_px, true);
  head.setUint16(18, frame.height_px, true);
  head.setUint32(20, frame.sequence, true);
  head.setUint32(24, frame.timestamp_us % 2 ** 32, true);
  head.setUint32(28, Math.floor(frame.timestamp_us / 2 ** 32), true);
  head.setUint32(32, frame.epoch, true);
  bytes.set(frame.description, HEADER_BYTES);
  bytes.set(frame.data, HEADER_BYTES + frame.description.byteLength);
  return bytes;
}

/**
 * The body of a channel message as an ArrayBuffer. Tauri hands over a plain array of numbers when
 * its custom protocol failed once; `null` when the body is neither.
 */
export function bodyOf(body: unknown): ArrayBuffer | null {
  if (body instanceof ArrayBuffer) return body;
  if (ArrayBuffer.isView(body)) {
    return new Uint8Array(body.buffer, body.byteOffset, body.byteLength).slice().buffer;
  }
  if (Array.isArray(body)) return Uint8Array.from(body as number[]).buffer;
  return null;
}
