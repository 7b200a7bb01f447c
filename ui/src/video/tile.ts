/** Names of tiles. A tile shows one picture of one member. */

import type { MediaSource } from "../generated/MediaSource";
import type { MemberId } from "../generated/MemberId";

export interface TileId {
  readonly member: MemberId;
  readonly source: MediaSource;
}

/** A tile's key in maps. */
export function tileKey(id: TileId): string {
  return `${String(id.member)}/${id.source}`;
}
