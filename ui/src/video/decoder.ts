/**
 * Turns the frames of one tile into pictures.
 *
 * States: *waiting* for a keyframe → *decoding* → (error, lost frames, reset) → *waiting* …, and
 * *given up*, from which there is no way back: WebCodecs is missing, failed three times, or never
 * put anything out, so the engine decodes for this tile and sends I420. I420 frames are shown in
 * every state.
 *
 * Invariants: no delta frame reaches a decoder that has not seen the keyframe before it; every
 * decoder made is closed; pictures of a closed decoder are closed, never shown.
 */

import type { UiCommand } from "../generated/UiCommand";
import type { Frame } from "./header";
import { ENGINE_COLOUR, pictureOf, pictureOfI420, type Picture } from "./picture";
import type { TileId } from "./tile";

/** At most one keyframe request per tile in this time: the answer takes a round trip. */
const KEYFRAME_INTERVAL_MS = 500;
/** Errors after which WebCodecs is given up for a tile. */
const MOST_FAILURES = 3;
/** Pictures in a row that make earlier errors forgotten. */
const FORGIVING_PICTURES = 300;
/** A decoder that was fed this long without putting anything out never will. */
const MUTE_DECODER_MS = 3000;
/** Frames waiting inside a decoder beyond which it cannot keep up and skips to a keyframe. */
const MOST_QUEUED = 30;
/** While encoded frames still arrive for a tile given up, the engine is told again this often. */
const DELIVERY_INTERVAL_MS = 2000;

export interface DecoderPorts {
  dispatch(command: UiCommand): void;
  /** Takes the picture over. */
  show(picture: Picture): void;
  now_ms(): number;
}

export class TileDecoder {
  private decoder: VideoDecoder | null = null;
  private configured = "";
  private failures = 0;
  private picturesInRow = 0;
  private everPutOut = false;
  private fedSince_ms: number | null = null;
  private keyframeAsked_ms = -Infinity;
  private deliveryAsked_ms = -Infinity;
  private givenUp = false;

  constructor(
    private readonly tile: TileId,
    private readonly ports: DecoderPorts,
  ) {}

  handleFrame(frame: Frame): void {
    if (frame.format === "i420") {
      const picture = pictureOfI420(frame);
      if (picture) this.ports.show(picture);
      return;
    }
    if (typeof VideoDecoder !== "function") this.givenUp = true;
    if (this.givenUp) {
      this.askForI420();
      return;
    }
    this.decode(frame);
    this.tick();
  }

  /** Notices a decoder that stays mute; to be called about once a second. */
  tick(): void {
    const fed = this.fedSince_ms;
    if (this.givenUp || this.everPutOut || fed === null) return;
    if (this.ports.now_ms() - fed >= MUTE_DECODER_MS) this.giveUp();
  }

  /** Frames were lost: start over at the next keyframe. */
  reset(): void {
    this.discard();
    this.deliveryAsked_ms = -Infinity;
  }

  close(): void {
    this.discard();
  }

  private decode(frame: Frame): void {
    if (frame.keyframe) {
      const configuration = configurationOf(frame);
      const described = `${configuration.codec} ${frame.description.join()}`;
      if (this.decoder?.state !== "configured" || this.configured !== described) {
        this.discard();
        this.open(configuration, described);
      }
    } else if (frame.discontinuity || (this.decoder?.decodeQueueSize ?? 0) > MOST_QUEUED) {
      this.discard();
    }
    if (this.decoder?.state !== "configured") {
      this.askForKeyframe();
      return;
    }
    this.fedSince_ms ??= this.ports.now_ms();
    try {
      this.decoder.decode(
        new EncodedVideoChunk({
          type: frame.keyframe ? "key" : "delta",
          timestamp: frame.timestamp_us,
          data: frame.data,
        }),
      );
    } catch {
      this.fail();
    }
  }

  private open(configuration: VideoDecoderConfig, described: string): void {
    const decoder = new VideoDecoder({
      output: (frame) => {
        if (this.decoder !== decoder) {
          frame.close();
          return;
        }
        this.everPutOut = true;
        this.picturesInRow += 1;
        if (this.picturesInRow >= FORGIVING_PICTURES) this.failures = 0;
        this.ports.show(pictureOf(frame));
      },
      error: () => {
        if (this.decoder === decoder) this.fail();
      },
    });
    this.decoder = decoder;
    this.configured = described;
    try {
      decoder.configure(configuration);
    } catch {
      this.fail();
    }
  }

  private fail(): void {
    this.discard();
    this.picturesInRow = 0;
    this.failures += 1;
    if (this.failures >= MOST_FAILURES) this.giveUp();
    else this.askForKeyframe();
  }

  private giveUp(): void {
    this.discard();
    this.givenUp = true;
    this.askForI420();
  }

  private discard(): void {
    const decoder = this.decoder;
    this.decoder = null;
    if (decoder && decoder.state !== "closed") decoder.close();
  }

  private askForKeyframe(): void {
    const now = this.ports.now_ms();
    if (this.givenUp || now - this.keyframeAsked_ms < KEYFRAME_INTERVAL_MS) return;
    this.keyframeAsked_ms = now;
    this.ports.dispatch({ type: "need_keyframe", ...this.tile });
  }

  private askForI420(): void {
    const now = this.ports.now_ms();
    if (now - this.deliveryAsked_ms < DELIVERY_INTERVAL_MS) return;
    this.deliveryAsked_ms = now;
    this.ports.dispatch({ type: "set_delivery", ...this.tile, delivery: "i420" });
  }
}

/** The configuration that decodes what a keyframe starts. */
export function configurationOf(frame: Frame): VideoDecoderConfig {
  const size = { codedWidth: frame.width_px, codedHeight: frame.height_px };
  const common = { ...size, colorSpace: ENGINE_COLOUR, optimizeForLatency: true };
  switch (frame.format) {
    case "vp9":
      return { ...common, codec: "vp09.00.31.08" };
    case "h264": {
      // avcC: version, profile, constraints, level. RFC 6381 wants the latter three in hex.
      const profile = Array.from(frame.description.subarray(1, 4), (byte) =>
        byte.toString(16).padStart(2, "0"),
      ).join("");
      return {
        ...common,
        codec: `avc1.${profile.length === 6 ? profile : "42e01f"}`,
        ...(frame.description.byteLength > 0 && { description: frame.description }),
      };
    }
    default:
      return { ...common, codec: "vp8" };
  }
}
