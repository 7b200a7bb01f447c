/** Which kind of system the window runs on. */

export type Platform = "linux" | "macos" | "windows";

/** Read from what the webview calls itself. */
export function platformOf(userAgent: string): Platform {
  if (/Windows/.test(userAgent)) return "windows";
  return /Mac OS X|Macintosh/.test(userAgent) ? "macos" : "linux";
}
