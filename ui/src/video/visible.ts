/**
 * Keeps the list of tiles on screen and tells it when it settled: the engine sends nothing for
 * the others and scales to what is told. A hidden document shows no tile.
 */

import type { TileSize } from "../generated/TileSize";
import { tileKey, type TileId } from "./tile";

/** A window being resized changes sizes at every frame; the engine hears of the last one only. */
export const SETTLE_MS = 150;

export class VisibleTiles {
  private readonly tiles = new Map<string, TileSize>();
  private hidden = false;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private told = "[]";

  constructor(private readonly tell: (tiles: TileSize[]) => void) {}

  set(id: TileId, width_px: number, height_px: number): void {
    this.tiles.set(tileKey(id), { ...id, width_px, height_px });
    this.settle();
  }

  remove(id: TileId): void {
    this.tiles.delete(tileKey(id));
    this.settle();
  }

  setHidden(hidden: boolean): void {
    this.hidden = hidden;
    this.settle();
  }

  /** The engine may have forgotten (a new channel): tell again even if nothing changed. */
  repeat(): void {
    this.told = "";
    this.settle();
  }

  close(): void {
    clearTimeout(this.timer);
  }

  private settle(): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      const tiles = this.hidden
        ? []
        : [...this.tiles.values()].filter((tile) => tile.width_px > 0 && tile.height_px > 0);
      const telling = JSON.stringify(tiles);
      if (telling === this.told) return;
      this.told = telling;
      this.tell(tiles);
    }, SETTLE_MS);
  }
}
