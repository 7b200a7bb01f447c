/**
 * How a shared screen is looked at: pure functions. Sizes and places are in CSS pixels, `scale` is
 * theirs per pixel of the picture.
 */

export interface Size {
  width: number;
  height: number;
}

export interface Point {
  x: number;
  y: number;
}

/** `fit` shows all of the picture; otherwise `scale`, with the picture's `center` (0 to 1) amid. */
export type Zoom = { kind: "fit" } | { kind: "scaled"; scale: number; center: Point };

export const FIT: Zoom = { kind: "fit" };

/** Where the picture lies in its box. */
export interface Placed {
  scale: number;
  /** Of its upper left corner. */
  x: number;
  y: number;
}

/** Largest magnification of a pixel of the picture. */
export const MOST_SCALE = 4;
/** One notch of a wheel, about 100 pixels of scrolling, magnifies by this much. */
const NOTCH = 1.2;
const NOTCH_PX = 100;
/** Closer than this share to showing all of it, all of it is shown. */
const FIT_TOLERANCE = 0.02;

const clamp = (value: number, least: number, most: number) =>
  Math.min(Math.max(value, least), Math.max(least, most));

/** The scale at which all of the picture shows, never magnified. */
export function fitScale(picture: Size, box: Size): number {
  if (picture.width <= 0 || picture.height <= 0) return 1;
  return Math.min(box.width / picture.width, box.height / picture.height, 1);
}

/** Where the picture lies: centred along a side that fits, without a margin along one that does not. */
export function place(zoom: Zoom, picture: Size, box: Size): Placed {
  const scale = zoom.kind === "fit" ? fitScale(picture, box) : zoom.scale;
  const center = zoom.kind === "fit" ? { x: 0.5, y: 0.5 } : zoom.center;
  const along = (side: number, room: number, at: number) => {
    const size = side * scale;
    if (size <= room) return (room - size) / 2;
    return clamp(room / 2 - at * size, room - size, 0);
  };
  return {
    scale,
    x: along(picture.width, box.width, center.x),
    y: along(picture.height, box.height, center.y),
  };
}

/** The zoom that shows this place of the picture in the middle of the box. */
function scaledAt(placed: Placed, picture: Size, box: Size): Zoom {
  const { scale, x, y } = placed;
  const center = {
    x: (box.width / 2 - x) / (picture.width * scale),
    y: (box.height / 2 - y) / (picture.height * scale),
  };
  return { kind: "scaled", scale, center };
}

/** Another scale, the picture's point at `at` in the box staying where it is. */
export function zoomTo(zoom: Zoom, scale: number, at: Point, picture: Size, box: Size): Zoom {
  const least = fitScale(picture, box);
  if (picture.width <= 0 || picture.height <= 0 || scale <= least * (1 + FIT_TOLERANCE)) return FIT;
  const before = place(zoom, picture, box);
  const next = clamp(scale, least, MOST_SCALE);
  const ratio = next / before.scale;
  const moved = {
    scale: next,
    x: at.x - (at.x - before.x) * ratio,
    y: at.y - (at.y - before.y) * ratio,
  };
  // What the edges allow, so that the next step begins where this one is seen to end.
  return scaledAt(place(scaledAt(moved, picture, box), picture, box), picture, box);
}

/** Turning the wheel by `delta` pixels (down is positive) at a point of the box. */
export function zoomByWheel(zoom: Zoom, delta: number, at: Point, picture: Size, box: Size): Zoom {
  const { scale } = place(zoom, picture, box);
  return zoomTo(zoom, scale * NOTCH ** (-delta / NOTCH_PX), at, picture, box);
}

/** Dragging the picture by so much. */
export function pan(zoom: Zoom, by: Point, picture: Size, box: Size): Zoom {
  if (zoom.kind === "fit") return zoom;
  const placed = place(zoom, picture, box);
  const moved = { ...placed, x: placed.x + by.x, y: placed.y + by.y };
  return scaledAt(place(scaledAt(moved, picture, box), picture, box), picture, box);
}

/** Whether any of the picture is out of sight, so that it can be dragged. */
export function isPannable(zoom: Zoom, picture: Size, box: Size): boolean {
  const { scale } = place(zoom, picture, box);
  return picture.width * scale > box.width + 0.5 || picture.height * scale > box.height + 0.5;
}
