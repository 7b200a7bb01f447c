/** How many tiles fit before they get too small, and what goes on which page. Pure. */

import { MOST_TILES, TILE_ASPECT, type Box } from "./arrange";

/**
 * Least width of a tile in a grid, in CSS pixels: a face and a name can still be read. Larger means
 * more pages, smaller unreadable people.
 */
export const LEAST_TILE_PX = 140;
/** The same for the strip beside a large tile, which is looked at less. */
export const LEAST_STRIP_TILE_PX = 112;

/** Most tiles at least `least` pixels wide that fit into a box; one fits always. */
export function capacity({ width, height }: Box, gap: number, least = LEAST_TILE_PX): number {
  // A box narrower than one tile (a strip) holds a column of tiles of its own width.
  const tile = Math.max(1, Math.min(least, width));
  const columns = Math.floor((width + gap) / (tile + gap));
  const rows = Math.floor((height + gap) / (tile / TILE_ASPECT + gap));
  return Math.min(MOST_TILES, Math.max(1, columns) * Math.max(1, rows));
}

/**
 * Splits `items` into pages of at most `most`, as evenly as can be, so that no page has one lonely
 * large tile; earlier pages have one more where it does not come out even. At least one page.
 */
export function pagesOf<T>(items: readonly T[], most: number): T[][] {
  const pages = Math.max(1, Math.ceil(items.length / Math.max(1, most)));
  return Array.from({ length: pages }, (_, page) => {
    const from = Math.ceil((page * items.length) / pages);
    return items.slice(from, Math.ceil(((page + 1) * items.length) / pages));
  });
}

/** How many of `count` items the first page has; what {@link pagesOf} makes of them. */
export function firstPage(count: number, most: number): number {
  return Math.ceil(count / Math.max(1, Math.ceil(count / Math.max(1, most))));
}

/** A page that exists, the nearest to the one asked for. */
export function clampPage(page: number, pages: number): number {
  return Math.min(Math.max(0, page), Math.max(0, pages - 1));
}
