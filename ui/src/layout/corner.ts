/** Where something floats that sits in a corner: dragging it, and moving it by arrow keys. Pure. */

import type { Box } from "./arrange";
import type { Corner } from "../state/preferences";

const corner = (top: boolean, left: boolean): Corner =>
  `${top ? "top" : "bottom"}_${left ? "left" : "right"}`;

/** The corner nearest to a point of the box. */
export function nearestCorner(x: number, y: number, { width, height }: Box): Corner {
  return corner(y < height / 2, x < width / 2);
}

/** The corner an arrow key leads to; `null` for other keys and where it is already. */
export function cornerBeside(from: Corner, key: string): Corner | null {
  const top = from.startsWith("top");
  const left = from.endsWith("left");
  const to = new Map([
    ["ArrowUp", corner(true, left)],
    ["ArrowDown", corner(false, left)],
    ["ArrowLeft", corner(top, true)],
    ["ArrowRight", corner(top, false)],
  ]).get(key);
  return to === undefined || to === from ? null : to;
}
