/** The server address as people type it. */

export type ServerCheck = { kind: "ok"; url: string } | { kind: "invalid" };

/** Empty stays empty; a bare host gets `wss://`; anything but `ws(s)://host[:port]` is invalid. */
export function checkServer(text: string): ServerCheck {
  const trimmed = text.trim();
  if (trimmed === "") return { kind: "ok", url: "" };
  const spelled = /^[a-z][a-z0-9+.-]*:\/\//i.test(trimmed) ? trimmed : `wss://${trimmed}`;
  const url = parse(spelled);
  const plain =
    url !== null &&
    (url.protocol === "ws:" || url.protocol === "wss:") &&
    url.hostname !== "" &&
    url.username === "" &&
    url.password === "" &&
    (url.pathname === "/" || url.pathname === "") &&
    url.search === "" &&
    url.hash === "" &&
    !/\s/.test(trimmed);
  return plain ? { kind: "ok", url: `${url.protocol}//${url.host}` } : { kind: "invalid" };
}

// `URL.parse` would do, but is younger than the oldest webview supported.
function parse(text: string): URL | null {
  try {
    return new URL(text);
  } catch {
    return null;
  }
}
