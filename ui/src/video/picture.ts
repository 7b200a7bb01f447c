/** A decoded picture, however it came about. Whoever holds one last closes it. */

import type { Frame } from "./header";
import { i420ToRgba, packedPlanes, scaleI420, type Planes } from "./yuv";

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

/**
 * Places up to this many pixels are drawn from the samples where that is faster: nine in a window of
 * 1280 × 800 are, by a tenth. Larger ones take longer by themselves.
 */
const MOST_SMALL_PX = 480 * 270;
/** Pictures up to this many pixels are copied: more are not sent for small places. */
const MOST_COPIED_PX = 640 * 360;

/**
 * Whether the webview takes long to draw a `VideoFrame`. WebKitGTK 2.50 converts each one through a
 * new pipeline: 2.4 ms for 320 × 180 where its samples are drawn small in 0.2 ms.
 */
export function drawsSlowly(userAgent: string): boolean {
  return /Linux.*AppleWebKit\/605\b/.test(userAgent) && !/Chrom/.test(userAgent);
}

/** Wraps what a decoder put out; `planes` are its samples, if they are known already. */
export function pictureOf(frame: VideoFrame, planes: Planes | null = null): Picture {
  const slow = drawsSlowly(navigator.userAgent);
  let known = slow ? planes : null;
  // Copied by the time it is drawn, which is in the next frame at the earliest; else it is drawn slowly.
  if (slow && planes === null) void copyPlanes(frame).then((copied) => (known = copied));
  return {
    width: frame.displayWidth,
    height: frame.displayHeight,
    draw: (context, x, y, width, height) => {
      if (known && width * height <= MOST_SMALL_PX) drawPlanes(known, context, x, y, width, height);
      else context.drawImage(frame, x, y, width, height);
    },
    close: () => {
      frame.close();
    },
  };
}

/** The samples of a decoded picture; `null` where there are none to be had. */
async function copyPlanes(frame: VideoFrame): Promise<Planes | null> {
  const { format, visibleRect } = frame;
  // A cropped one is none of ours, and a large one is drawn large.
  if (format !== "I420" || !visibleRect || visibleRect.x !== 0 || visibleRect.y !== 0) return null;
  const { width, height } = visibleRect;
  if (width * height > MOST_COPIED_PX) return null;
  try {
    const data = new Uint8Array(frame.allocationSize());
    return { data, width, height, layout: await frame.copyTo(data) };
  } catch {
    return null;
  }
}

/** Every small place is as large as the next one in a crowd, so one is kept. */
let scratch: ImageData | null = null;

function drawPlanes(
  planes: Planes,
  context: CanvasRenderingContext2D,
  ...[x, y, width, height]: [number, number, number, number]
): void {
  const [across, down] = [Math.round(width), Math.round(height)];
  if (across < 1 || down < 1) return;
  if (scratch?.width !== across || scratch.height !== down) scratch = new ImageData(across, down);
  scaleI420(planes, scratch.data, across, down);
  context.putImageData(scratch, Math.round(x), Math.round(y));
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
      packedPlanes(data, width, height),
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
