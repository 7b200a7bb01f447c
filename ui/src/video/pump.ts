/**
 * Takes messages off the frame channel: returns credits, keeps the epoch, watches for silence.
 *
 * Invariants: every message returns exactly one credit, to the epoch it was sent in, as soon as it
 * was looked at, whatever it held; a frame of an old epoch is never handed on; the epoch only
 * grows (the frame channel and the event channel race, either may tell of a new one first).
 *
 * Not here: timers (the owner calls {@link Pump.tick}), decoding, drawing.
 */

import type { UiCommand } from "../generated/UiCommand";
import { bodyOf, readFrames, type Frame } from "./header";

/** A channel from which frames are expected and which is silent this long is replaced. */
export const SILENCE_MS = 2000;
/** Replacing did not help: try again ever later, at most this late. */
const MOST_SILENCE_MS = 30_000;

export interface PumpPorts {
  dispatch(command: UiCommand): void;
  /** Opens new channels; the engine answers with a new epoch. */
  attach(): void;
  /** A frame of the current epoch. */
  onFrame(frame: Frame): void;
  /** Frames were lost or the channel started over: every decoder has lost its place. */
  onReset(): void;
}

export class Pump {
  private epoch = 0;
  /** When silence began to count; `null` while no frames are expected. */
  private quietSince_ms: number | null = null;
  private patience_ms = SILENCE_MS;

  constructor(private readonly ports: PumpPorts) {}

  /** A message arrived, of whatever shape. */
  handleMessage(body: unknown, now_ms: number): void {
    let epoch = this.epoch;
    try {
      const message = bodyOf(body);
      const frames = message === null ? null : readFrames(message);
      if (frames === null) return;
      epoch = frames[0]?.epoch ?? epoch;
      this.handleEpoch(epoch);
      this.quietSince_ms = this.quietSince_ms === null ? null : now_ms;
      this.patience_ms = SILENCE_MS;
      if (epoch !== this.epoch) return;
      for (const frame of frames) this.ports.onFrame(frame);
    } catch {
      // What the message held is lost, which a decoder cannot know.
      this.ports.onReset();
    } finally {
      this.ports.dispatch({ type: "frame_credit", epoch, messages: 1 });
    }
  }

  /** The engine told of an epoch. */
  handleEpoch(epoch: number): void {
    if (epoch <= this.epoch) return;
    this.epoch = epoch;
    this.ports.onReset();
  }

  /** Whether frames should be arriving at all. */
  expectFrames(expected: boolean, now_ms: number): void {
    if (!expected) {
      this.quietSince_ms = null;
      this.patience_ms = SILENCE_MS;
    } else {
      this.quietSince_ms ??= now_ms;
    }
  }

  /** To be called a few times a second. */
  tick(now_ms: number): void {
    if (this.quietSince_ms === null || now_ms - this.quietSince_ms < this.patience_ms) return;
    this.quietSince_ms = now_ms;
    this.patience_ms = Math.min(this.patience_ms * 2, MOST_SILENCE_MS);
    this.ports.attach();
  }
}
