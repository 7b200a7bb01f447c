/**
 * Push-to-talk: a key unmutes as long as it is held. Pure.
 *
 * States: up, held while muted before (it unmuted, and mutes at its end), held while not muted
 * before (it does nothing).
 *
 * Invariants: only the key going down unmutes, once for each time it is pressed by the person, never
 * a key that repeats; whatever ends holding mutes what holding unmuted, and nothing unmutes then.
 */

export interface Talk {
  /** The key is down. */
  held: boolean;
  /** It unmuted, so its end mutes. */
  open: boolean;
}

export const notTalking: Talk = { held: false, open: false };

export interface TalkStep {
  talk: Talk;
  /** What to tell the engine; `null` is nothing. */
  muted: boolean | null;
}

/** The key goes down, `repeat` as long as the system repeats it. */
export function press(talk: Talk, muted: boolean, repeat: boolean): TalkStep {
  if (talk.held || repeat) return { talk, muted: null };
  return { talk: { held: true, open: muted }, muted: muted ? false : null };
}

/** The key goes up, or may have gone up unseen: the window lost the keyboard, the call is over. */
export function release(talk: Talk): TalkStep {
  return { talk: notTalking, muted: talk.open ? true : null };
}
