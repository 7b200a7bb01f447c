/** When a window is too small for more than one picture. Pure. */

import type { Box } from "./arrange";

/** Below either, in CSS pixels, controls would cover the people: one person and nothing else. */
export const MINI_PX: Box = { width: 340, height: 260 };

export function isMini({ width, height }: Box): boolean {
  return width < MINI_PX.width || height < MINI_PX.height;
}
