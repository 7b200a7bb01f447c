/** A decoded picture, however it came about. Whoever holds one last closes it. */

import type { Frame } from "./header";
import { i420ToRgba } from "./yuv";

/** How the engine's samples are meant: BT.601, limited range. Webviews assume BT.709 untold. */
export const ENGINE_COLOUR: VideoColorSpaceInit = {
  primaries: "smpte170m",
  transfer: "smpte170m",
  matrix: "smpte170m",
  fullRange: false,
};

export interface Picture {
  readonly width: number;
  readonly height: number;
  /** Draws the whole picture into a rectangle. */
  draw(
    context: CanvasRenderingContext2D,
    x: number,
    y: number,
    width: number,
    height: number,
  ): void;
  /** Gives the memory back; nothing may be drawn afterwards. */
  close(): void;
}

/** Wraps what a decoder put out. */
export function pictureOf(frame: VideoFrame): Picture {
  return {
    width: frame.displayWidth,
    height: frame.displayHeight,
    draw: (context, x, y, width, height) => {
      context.drawImage(frame, x, y, width, height);
    },
    close: () => {
      frame.close();
    },
  };
}

/** Bytes of an I420 picture without padding. */
export function i420Bytes(width: number, height: number): number {
  return width * height + 2 * Math.ceil(width / 2) * Math.ceil(height / 2);
}

/** A picture of an I420 frame; `null` when the frame's size and its bytes do not agree. */
export function pictureOfI420(frame: Frame): Picture | null {
  const { width_px: width, height_px: height, data } = frame;
  if (width === 0 || height === 0 || data.byteLength !== i420Bytes(width, height)) return null;
  if (typeof VideoFrame === "function") {
    return pictureOf(
      new VideoFrame(data, {
        format: "I420",
        codedWidth: width,
        codedHeight: height,
        timestamp: frame.timestamp_us,
        colorSpace: ENGINE_COLOUR,
      }),
    );
  }
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return {
    width,
    height,
    // Converted only when drawn: most pictures of a hidden window never are.
    draw: (context, x, y, drawWidth, drawHeight) => {
      const pixels = new ImageData(i420ToRgba(data, width, height), width, height);
      canvas.getContext("2d")?.putImageData(pixels, 0, 0);
      context.drawImage(canvas, x, y, drawWidth, drawHeight);
    },
    close: () => {
      canvas.width = 0;
    },
  };
}
