/** Light or dark, as the person chose, or as the system is. */

import type { Theme } from "./generated/Theme";

const system = matchMedia("(prefers-color-scheme: dark)");
let chosen: Theme = "system";

export function setTheme(theme: Theme): void {
  chosen = theme;
  show();
}

/** Follows the system from now on, where the person chose to. */
export function followSystem(): void {
  system.addEventListener("change", show);
  show();
}

function show(): void {
  const dark = chosen === "dark" || (chosen === "system" && system.matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
}
