/** Every view there is: the scenes of the fake backend, and what opens in them. */

import { scenes } from "./browser.mjs";

/** Scenes that look like another: for measuring. */
const ALIKE = ["crowd"];

const click = (testid) => ({ click: testid });
const key = (name) => ({ key: name });

/** What is opened in a scene: name, scene, and the presses that lead there. */
const OPENED = [
  ["home-connection", "home", [click("connection")]],
  ["home-voice", "home", [click("voice")]],
  ["home-help", "home", [key("?")]],
  ["settings", "rooms", [key(",")]],
  ["settings-devices", "device-trouble", [key(","), click("tab-devices")]],
  ["settings-quality", "home", [key(","), click("tab-quality")]],
  ["settings-connection", "home", [key(","), click("tab-connection")]],
  ["settings-keys", "home", [key(","), click("tab-keys")]],
  ["settings-help", "network-my_cpu", [key(","), click("tab-help")]],
  ["call-1-qr", "call-1", [click("toggle-qr")]],
  ["call-2-people", "call-2", [key("p")]],
  ["call-4-help", "call-4", [key("?")]],
  ["call-4-menu", "call-4", [click("menu-2")]],
  ["call-4-own-menu", "call-4", [click("menu-self")]],
  ["call-4-devices", "call-4", [click("device-menu")]],
  ["call-4-reactions", "call-4", [click("reaction-menu")]],
  ["call-4-more", "call-4", [click("more-button")]],
  ["call-4-room", "call-4", [click("room-menu")]],
  ["call-4-remove", "call-4", [click("room-menu"), click("remove-2")]],
  ["call-4-pinned", "call-4", [click("menu-2"), click("pin-2")]],
  ["call-4-share", "call-4", [key("s")]],
  ["guest-room", "mute-question", [click("room-menu")]],
  ["call-9-people", "call-9", [key("p")]],
  ["call-9-people-menu", "call-9", [key("p"), click("menu-list-2")]],
  ["call-9-speaker", "call-9", [key("g")]],
  ["call-49-speaker", "call-49", [key("g")]],
  ["call-49-next", "call-49", [key("PageDown")]],
  ["chat-empty", "call-4", [key("c")]],
  ["chat-open", "chat", [key("c")]],
  ["chat-recipients", "chat", [key("c"), click("attach")]],
  ["chat-scrolled", "chat-long", [key("c")]],
  ["files-open", "files", [key("c")]],
  ["network-details", "network-my_cpu", [click("network-button")]],
  ["screens-people", "screens", [key("p")]],
];

/** Scenes in a small window of their own: name, scene, width and height. */
const SMALL = [
  ["mini", "call-4", 320, 180],
  ["mini-avatar", "sound-only-2", 320, 180],
];

/** Views shown in German too, whose words are longer. */
const GERMAN = [
  "home",
  "rooms",
  "settings",
  "settings-devices",
  "settings-quality",
  "settings-keys",
  "settings-help",
  "call-1-qr",
  "call-4",
  "call-4-menu",
  "call-4-room",
  "call-4-remove",
  "call-4-help",
  "call-9-people-menu",
  "knocks",
  "mute-question",
  "removed",
  "files-open",
  "offers",
  "network-details",
];

/** All views, each with a name, a scene and the steps in it; `size` is the only one that fits. */
export function views() {
  const english = [
    ...scenes()
      .filter((scene) => !ALIKE.includes(scene))
      .map((scene) => ({ name: scene, scene, steps: [] })),
    ...OPENED.map(([name, scene, steps]) => ({ name, scene, steps })),
    ...SMALL.map(([name, scene, ...size]) => ({ name, scene, steps: [], size })),
  ];
  const german = english
    .filter(({ name }) => GERMAN.includes(name))
    .map((view) => ({ ...view, name: `german-${view.name}`, language: "de" }));
  return [...english, ...german];
}

/** Shows a view. */
export async function show(page, { scene, language, steps }) {
  await page.open(scene, language);
  for (const { key, click } of steps) {
    if (key !== undefined) await page.press(key);
    else await page.click(click);
  }
  await page.settle();
}
