/** What is where on the stage: tiles of one page, and a large one beside them. Pure. */

import { arrange, arrangeSpeaker, stripOf, type Box, type Rect } from "./arrange";
import { capacity, clampPage, firstPage, LEAST_STRIP_TILE_PX, pagesOf } from "./pages";

/** Height of the row that turns pages, in CSS pixels; it is there only where there are pages. */
export const PAGER_PX = 34;

export interface Plan<T> {
  /** What is on screen, and where; the large one first. */
  placed: { tile: T; place: Rect }[];
  columns: number;
  /** How many pages there are, and which one this is, from 0. */
  pages: number;
  page: number;
  /** How many of the others the first page has. */
  first: number;
  /** The key of the large one. */
  main: string | null;
}

/**
 * Places tiles in a box: all alike, or the one whose key is `main` large on every page and the
 * others in a strip. `self` stays on the first page, as its last.
 */
export function planStage<T extends { key: string }>(
  others: readonly T[],
  self: T | null,
  main: string | null,
  box: Box,
  gap: number,
  page: number,
): Plan<T> {
  const all = self === null ? others : [...others, self];
  const large = all.find((one) => one.key === main) ?? null;
  const small = all.filter((one) => one !== large);
  const room = (height: number) => {
    if (large === null) return capacity({ width: box.width, height }, gap);
    return capacity(stripOf(box.width, height, gap).strip, gap, LEAST_STRIP_TILE_PX);
  };
  const paged = small.length > room(box.height);
  const height = paged ? Math.max(0, box.height - PAGER_PX) : box.height;
  const most = room(height);
  const first = firstPage(small.length, most);
  const ordered = [...small];
  if (self !== null && large !== self) ordered.splice(first - 1, 0, ...ordered.splice(-1, 1));
  const pages = pagesOf(ordered, most);
  const at = clampPage(page, pages.length);
  const shown = [...(large === null ? [] : [large]), ...(pages[at] ?? [])];
  const { columns, tiles } =
    large === null
      ? arrange(shown.length, box.width, height, gap)
      : arrangeSpeaker(shown.length, 0, box.width, height, gap);
  const placed = shown.flatMap((tile, index) => {
    const place = tiles[index];
    return place ? [{ tile, place }] : [];
  });
  const ownSeat = self === null || large === self ? 0 : 1;
  return {
    placed,
    columns,
    pages: pages.length,
    page: at,
    first: Math.max(0, first - ownSeat),
    main: large?.key ?? null,
  };
}
