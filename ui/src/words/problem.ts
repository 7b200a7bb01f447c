/** Sentences that need a little arithmetic. */

import type { DeviceState } from "../generated/DeviceState";
import { CODE_SYMBOLS, type CodeCheck } from "../input/code";
import type { BannerView } from "../state/select";
import { words } from "./words";

/** What is wrong with a typed code; `null` when nothing is. */
export function codeProblem(check: CodeCheck): string | null {
  switch (check.kind) {
    case "empty":
      return words.home.codeEmpty;
    case "short":
      return words.home.codeShort(CODE_SYMBOLS - check.symbols);
    case "long":
      return words.home.codeLong;
    case "bad_symbol":
      return words.home.codeBadSymbol(check.symbol);
    case "complete":
      return null;
  }
}

/** What is wrong with a device; `null` when nothing is. */
export function deviceProblem(state: DeviceState): string | null {
  if (state.state === "failed") return words.errors[state.code];
  return state.state === "silent" ? words.preview.silent : null;
}

/** The banner's sentence. */
export function bannerText(banner: BannerView): string {
  switch (banner.kind) {
    case "reconnecting":
      return words.banner.reconnecting;
    case "failure":
    case "device":
      return words.errors[banner.code];
    case "silent":
      return words.banner.silent;
    case "link":
      return words.banner.link(banner.name || words.call.nameless);
  }
}
