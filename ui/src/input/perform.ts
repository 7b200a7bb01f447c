/** What the keys of a call do. */

import type { App } from "../app.svelte";
import type { KeyAction } from "./keys";

/** The actions that need nothing but the app. */
export function perform(app: App, action: Exclude<KeyAction, "toggle_help" | "close">): void {
  switch (action) {
    case "talk":
      app.startTalk();
      break;
    case "toggle_mute":
      app.toggleMute();
      break;
    case "toggle_camera":
      app.toggleCamera();
      break;
    case "toggle_share":
      app.toggleShare();
      break;
    case "toggle_hand":
      app.toggleHand();
      break;
    case "toggle_chat":
      app.toggleChat();
      break;
    case "toggle_people":
      app.openPeople(!app.people);
      break;
    case "toggle_layout":
      app.toggleLayout();
      break;
    case "previous_page":
      app.turnPage(-1);
      break;
    case "next_page":
      app.turnPage(1);
      break;
    case "toggle_self_view":
      app.toggleSelfView();
      break;
    case "toggle_full_screen":
      app.fullScreen.toggle();
      break;
    case "toggle_settings":
      app.settingsOpen = !app.settingsOpen;
      break;
    case "toggle_mini":
      app.setMini(true);
      break;
  }
}
