/** Tile geometry: pure functions from numbers to numbers, in CSS pixels. */

/** Most tiles laid out at once; the remaining ones are not on screen. */
export const MOST_TILES = 49;
/** Width divided by height of every tile. */
export const TILE_ASPECT = 16 / 9;

export interface Box {
  width: number;
  height: number;
}

export interface Rect extends Box {
  x: number;
  y: number;
}

export interface Arrangement {
  columns: number;
  rows: number;
  /** One rectangle per tile, row by row; an incomplete last row is centred. */
  tiles: Rect[];
}

/**
 * The grid in which `count` equal 16:9 tiles are largest inside a `width` × `height` box.
 * Of equally large grids the one with fewer empty cells wins.
 */
export function arrange(count: number, width: number, height: number, gap: number): Arrangement {
  const n = Math.max(0, Math.min(MOST_TILES, Math.floor(count)));
  if (n === 0 || width <= 0 || height <= 0) return { columns: 0, rows: 0, tiles: [] };

  let best = { columns: 1, rows: n, tileWidth: 0 };
  for (let columns = 1; columns <= n; columns += 1) {
    const rows = Math.ceil(n / columns);
    const byWidth = (width - gap * (columns - 1)) / columns;
    const byHeight = ((height - gap * (rows - 1)) / rows) * TILE_ASPECT;
    const tileWidth = Math.max(0, Math.min(byWidth, byHeight));
    const gain = tileWidth - best.tileWidth;
    if (gain > 0.5 || (gain > -0.5 && columns * rows < best.columns * best.rows)) {
      best = { columns, rows, tileWidth };
    }
  }

  const tileWidth = Math.floor(best.tileWidth);
  const tileHeight = Math.floor(best.tileWidth / TILE_ASPECT);
  const top = (height - best.rows * tileHeight - (best.rows - 1) * gap) / 2;
  const tiles = Array.from({ length: n }, (_, index) => {
    const row = Math.floor(index / best.columns);
    const inRow = Math.min(best.columns, n - row * best.columns);
    const left = (width - inRow * tileWidth - (inRow - 1) * gap) / 2;
    return {
      x: Math.round(left + (index % best.columns) * (tileWidth + gap)),
      y: Math.round(top + row * (tileHeight + gap)),
      width: tileWidth,
      height: tileHeight,
    };
  });
  return { columns: best.columns, rows: best.rows, tiles };
}

/** Share of the box that the small tiles get. More makes faces in them readable, and the big one small. */
const STRIP_SHARE = 0.2;
/** Bounds of the strip's height (beneath) in pixels; its width beside follows from the aspect. */
const STRIP_PX = { least: 64, most: 150 };

/**
 * The tile at `main` as large as possible, all others in a strip beneath or beside it, whichever
 * leaves it larger.
 */
export function arrangeSpeaker(
  count: number,
  main: number,
  width: number,
  height: number,
  gap: number,
): Arrangement {
  const grid = arrange(count, width, height, gap);
  const n = grid.tiles.length;
  if (n < 2 || main < 0 || main >= n) return grid;
  const { strip, beneath } = stripOf(width, height, gap);
  const small = arrange(n - 1, strip.width, strip.height, gap);
  // What small tiles leave of the strip goes to the large one.
  const used = (one: number, count: number) => one * count + gap * (count - 1);
  const { columns, rows, tiles: places } = small;
  const wide = beneath ? strip.width : used(places[0]?.width ?? 0, columns);
  const high = beneath ? used(places[0]?.height ?? 0, rows) : strip.height;
  const big = beneath
    ? arrange(1, width, height - high - gap, 0).tiles[0]
    : arrange(1, width - wide - gap, height, 0).tiles[0];
  // A window too small for a strip.
  if (!big || big.width <= 0 || places.length === 0) return grid;
  const left = width - wide - (strip.width - wide) / 2;
  const top = height - high - (strip.height - high) / 2;
  const tiles = places.map((tile) => ({
    ...tile,
    x: tile.x + Math.floor(left),
    y: tile.y + Math.floor(top),
  }));
  tiles.splice(main, 0, big);
  return { columns, rows, tiles };
}

/** Room for the small tiles beside a large one: beneath it, or else at its right. */
export function stripOf(
  width: number,
  height: number,
  gap: number,
): { strip: Box; beneath: boolean } {
  const clamp = (px: number, scale: number) =>
    Math.round(Math.min(STRIP_PX.most * scale, Math.max(STRIP_PX.least * scale, px)));
  const stripHeight = clamp(height * STRIP_SHARE, 1);
  const stripWidth = clamp(width * STRIP_SHARE, TILE_ASPECT);
  const above = arrange(1, width, height - stripHeight - gap, 0).tiles[0];
  const beside = arrange(1, width - stripWidth - gap, height, 0).tiles[0];
  return (above?.width ?? 0) >= (beside?.width ?? 0)
    ? { strip: { width, height: stripHeight }, beneath: true }
    : { strip: { width: stripWidth, height }, beneath: false };
}

/** A picture whose shape differs from its box by less fills it: bars of a pixel look like faults. */
const FILL_TOLERANCE = 0.015;

/** Where a `width` × `height` picture goes inside a box so that all of it shows, centred. */
export function contain(width: number, height: number, boxWidth: number, boxHeight: number): Rect {
  if (width <= 0 || height <= 0) return { x: 0, y: 0, width: 0, height: 0 };
  const scale = Math.min(boxWidth / width, boxHeight / height);
  if (scale * (1 + FILL_TOLERANCE) >= Math.max(boxWidth / width, boxHeight / height)) {
    return { x: 0, y: 0, width: boxWidth, height: boxHeight };
  }
  const fitted = { width: Math.round(width * scale), height: Math.round(height * scale) };
  return {
    x: Math.round((boxWidth - fitted.width) / 2),
    y: Math.round((boxHeight - fitted.height) / 2),
    ...fitted,
  };
}
