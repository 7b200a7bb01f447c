/**
 * The words in use: `words.home.start` is what it says in the language of the moment, and views that
 * show it follow when that changes. Keep none of it in a constant.
 */

import { en, type Words } from "./en";
import { spoken } from "./language.svelte";

export const words: Words = new Proxy(en, {
  get: (_, key) => Reflect.get(spoken.words, key) as unknown,
});
