/**
 * Notices that somebody speaks who is muted. Pure; time comes with the levels.
 *
 * Invariants: nothing is noticed of who is not muted; a cough is not speech.
 */

/** Louder than this counts as speech. Higher misses the soft-spoken, lower hears keyboards. */
const LOUD = 0.08;
/** Speech, with its pauses, before it is noticed. Longer comes late, shorter answers to coughs. */
const SPEAKING_MS = 700;
/** How long it stays noticed in silence: long enough to read the hint and act on it. */
const QUIET_MS = 4_000;
/** A later level counts no longer than this: the gap says nothing about what was in it. */
const MOST_STEP_MS = 250;
/** How much slower silence wears off than speech adds up, for words have gaps. */
const PATIENCE = 3;

export interface Unheard {
  /** The person should be told. */
  shown: boolean;
  /** Speech so far, less the silence since. */
  loud_ms: number;
  /** Silence since it is shown. */
  quiet_ms: number;
  /** When the last level came; `null` before the first. */
  at_ms: number | null;
}

export const unheard: Unheard = { shown: false, loud_ms: 0, quiet_ms: 0, at_ms: null };

/** Another level, 0 to 1, of the microphone. */
export function listen(before: Unheard, level: number, muted: boolean, now_ms: number): Unheard {
  if (!muted) return unheard;
  const step_ms = Math.min(MOST_STEP_MS, Math.max(0, now_ms - (before.at_ms ?? now_ms)));
  const loud = level > LOUD;
  const loud_ms = loud
    ? Math.min(SPEAKING_MS, before.loud_ms + step_ms)
    : Math.max(0, before.loud_ms - step_ms / PATIENCE);
  const quiet_ms = loud ? 0 : before.quiet_ms + step_ms;
  const shown = loud_ms >= SPEAKING_MS || (before.shown && quiet_ms < QUIET_MS);
  return { shown, loud_ms, quiet_ms, at_ms: now_ms };
}
