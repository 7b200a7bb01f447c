/** Screens that do not exist: what the fake backend lists and draws. */

import type { ShareOption } from "../generated/ShareOption";

/** A window with some lines in it, as a picture. */
function thumbnail(tint: string): string {
  const lines = [24, 34, 44, 54, 64].map(
    (y, at) =>
      `<rect x="14" y="${String(y)}" width="${String(60 + ((at * 37) % 60))}" height="4"/>`,
  );
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 160 100"><rect width="160" height="100" fill="${tint}"/><rect x="6" y="6" width="148" height="10" fill="#fff" opacity=".5"/><g fill="#fff" opacity=".8">${lines.join("")}</g></svg>`;
  return `data:image/svg+xml,${encodeURIComponent(svg)}`;
}

/** What a system lists that lets the person choose in a dialog of its own. */
export const FAKE_CHOICE: ShareOption = {
  id: "chosen",
  kind: "chosen",
  name: "",
  width_px: 0,
  height_px: 0,
  thumbnail: "",
};

export const FAKE_SHARES: ShareOption[] = [
  {
    id: "screen:DP-1",
    kind: "screen",
    name: "DP-1",
    width_px: 2560,
    height_px: 1440,
    thumbnail: thumbnail("#33506b"),
  },
  {
    id: "screen:HDMI-1",
    kind: "screen",
    name: "HDMI-1",
    width_px: 1920,
    height_px: 1080,
    thumbnail: thumbnail("#4b3a63"),
  },
  {
    id: "window:2a00007",
    kind: "window",
    name: "Quarterly figures, draft 3 – Sheets",
    width_px: 1400,
    height_px: 900,
    thumbnail: thumbnail("#2f6650"),
  },
  {
    id: "window:2a00009",
    kind: "window",
    name: "Terminal",
    width_px: 800,
    height_px: 500,
    thumbnail: "",
  },
];

/** A page of text on a desktop, and a pointer that wanders over it. */
export function drawScreen(
  c: OffscreenCanvasRenderingContext2D,
  width: number,
  height: number,
  now_ms: number,
): void {
  const unit = height / 36;
  c.fillStyle = "#2c4a63";
  c.fillRect(0, 0, width, height);
  c.fillStyle = "#fbfbfd";
  c.fillRect(unit * 4, unit * 3, width - unit * 8, height - unit * 5);
  c.fillStyle = "#dfe5ee";
  c.fillRect(unit * 4, unit * 3, width - unit * 8, unit * 2.2);
  c.fillStyle = "#24303f";
  c.font = `${String(Math.round(unit * 1.1))}px sans-serif`;
  const typed = Math.floor(now_ms / 120) % 40;
  for (let line = 0; line < 14; line += 1) {
    const text = "Minutes of the meeting: what was said, and by whom.".slice(
      0,
      52 - ((line * 17) % 23),
    );
    const shown = line === 13 ? text.slice(0, typed) : text;
    c.fillText(
      `${String(line + 1).padStart(2, "0")}   ${shown}`,
      unit * 6,
      unit * (7.5 + line * 1.8),
    );
  }
  const x = width * (0.5 + 0.3 * Math.sin(now_ms / 1500));
  const y = height * (0.5 + 0.25 * Math.cos(now_ms / 1100));
  c.fillStyle = "#101418";
  c.beginPath();
  c.moveTo(x, y);
  c.lineTo(x + unit * 0.9, y + unit * 1.1);
  c.lineTo(x, y + unit * 1.5);
  c.fill();
}
