/** The words in use. The only place that knows which language that is. */

import { en, type Words } from "./en";

export const words: Words = en;
