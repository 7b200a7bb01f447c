/** Where a menu goes that belongs to a button. Pure, in CSS pixels of the window. */

import type { Box, Rect } from "./arrange";

/** Between the button and its menu, and at least to the window's edges. */
const GAP_PX = 6;

/**
 * Beneath the button, its right edge in line with the button's; above where there is more room, and
 * moved to stay inside the window.
 */
export function placeBeside(button: Rect, menu: Box, within: Box): { x: number; y: number } {
  const beneath = button.y + button.height + GAP_PX;
  const above = button.y - GAP_PX - menu.height;
  const fits = beneath + menu.height + GAP_PX <= within.height;
  const y = fits || above < GAP_PX ? beneath : above;
  const inside = (at: number, size: number, all: number) =>
    Math.max(GAP_PX, Math.min(at, all - size - GAP_PX));
  return {
    x: inside(button.x + button.width - menu.width, menu.width, within.width),
    y: inside(y, menu.height, within.height),
  };
}
