import { describe, expect, it, vi } from "vitest";
import { UNKNOWN_CODE } from "../backend/fake";
import { callView, fakeMember } from "../backend/fake-scenes";
import { words } from "../words/words";
import { backend, click, find, get, press, sent, settle, show, type } from "./harness";

describe("home", () => {
  it("asks for the preview and ends it with a call", async () => {
    await show("home");
    expect(sent("set_preview")).toEqual([{ type: "set_preview", on: true }]);
    await click("start-call");
    expect(find("connecting")).not.toBeNull();
    expect(sent("set_preview").at(-1)).toEqual({ type: "set_preview", on: false });
    await settle(1000);
    expect(get("room-code").textContent).toBe("K7MQ-2X9D-RTB4");
    expect(find("waiting")).not.toBeNull();
  });

  it("says what is wrong with a code before anything is sent", async () => {
    await show("home");
    await click("join-call");
    expect(get("error").textContent).toBe(words.home.codeEmpty);
    await type("code-input", "k7mq2x9drt");
    expect((get("code-input") as HTMLInputElement).value).toBe("K7MQ-2X9D-RT");
    expect(find("error")).toBeNull();
    await click("join-call");
    expect(get("error").textContent).toBe("2 characters are missing.");
    await type("code-input", "k7mq2x9drtbu");
    await click("join-call");
    expect(get("error").textContent).toContain("“U”");
    expect(sent("join_call")).toEqual([]);
  });

  it("saves data when asked to", async () => {
    await show("home");
    const low = get("low-data") as HTMLInputElement;
    expect(low.checked).toBe(false);
    await click("low-data");
    expect(sent("set_low_data")).toEqual([{ type: "set_low_data", on: true }]);
    expect((get("low-data") as HTMLInputElement).checked).toBe(true);
  });

  it("joins with a pasted link", async () => {
    await show("home");
    await type("code-input", "visavis://join/k7mq2x9drtb4");
    await click("join-call");
    expect(sent("join_call")).toEqual([{ type: "join_call", code: "K7MQ-2X9D-RTB4" }]);
  });

  it("shows a room that is not found beside the code until it is changed", async () => {
    await show("home");
    await type("code-input", UNKNOWN_CODE);
    await click("join-call");
    await settle(60_000);
    expect(get("error").textContent).toBe(words.errors.room_not_found_on_lan);
    await type("code-input", "1");
    expect(find("error")).toBeNull();
  });

  it("saves the name and checks the server", async () => {
    await show("home");
    await type("name-input", "Ada");
    get("name-input").dispatchEvent(new Event("change", { bubbles: true }));
    await settle();
    expect(sent("set_name")).toEqual([{ type: "set_name", name: "Ada" }]);
    await type("server-input", "https://nope");
    get("server-input").dispatchEvent(new Event("change", { bubbles: true }));
    await settle();
    expect(find("server-error")).not.toBeNull();
    expect(sent("set_server")).toEqual([]);
    await type("server-input", "calls.example");
    expect(find("server-error")).toBeNull();
    expect((get("connection") as HTMLDetailsElement).open).toBe(true);
    get("server-input").dispatchEvent(new Event("change", { bubbles: true }));
    await settle();
    expect(sent("set_server")).toEqual([{ type: "set_server", url: "wss://calls.example" }]);
  });

  it("chooses devices and tells their trouble", async () => {
    await show("device-trouble");
    expect(get("camera-trouble").textContent).toContain(words.errors.camera_busy);
    expect(get("microphone-trouble").textContent).toContain(words.preview.silent);
    const select = get("camera-select") as HTMLSelectElement;
    select.value = "device-1";
    select.dispatchEvent(new Event("change", { bubbles: true }));
    await settle();
    expect(sent("select_device")).toEqual([
      { type: "select_device", kind: "camera", id: "device-1" },
    ]);
  });

  it("tests sound: records, plays back, can be cancelled", async () => {
    await show("home");
    await click("start-sound-test");
    await settle(400);
    expect(get("sound-test-state").textContent).toContain(words.soundTest.recording(4));
    expect(find("start-sound-test")).toBeNull();
    await settle(4000);
    expect(get("sound-test-state").textContent).toContain(words.soundTest.playing(4));
    await settle(4000);
    expect(find("start-sound-test")).not.toBeNull();
    await click("play-test-tone");
    await settle(200);
    expect(get("sound-test-state").textContent).toContain(words.soundTest.sounding);
    await click("stop-sound-test");
    expect(find("start-sound-test")).not.toBeNull();
    expect(sent("set_muted")).toEqual([]);
  });

  it("shows a sound test from wherever it stands", async () => {
    await show("sound-test");
    expect(get("sound-test-state").textContent).toContain(words.soundTest.recording(3));
  });

  it("shows a failure in the banner and lets it go after a while", async () => {
    await show("home");
    backend.fail("server_unreachable");
    await settle();
    expect(get("banner").textContent).toContain(words.errors.server_unreachable);
    await settle(11_000);
    expect(find("banner")).toBeNull();
  });
});

describe("call", () => {
  it("names every tile", async () => {
    await show("call-4");
    expect(get("tile-2").dataset.name).toBe("Ada");
    expect(get("tile-3").getAttribute("aria-label")).toContain(words.call.muted);
    expect(get("tile-self").dataset.drawnFrames).toBe("0");
    expect(find("tile-canvas-4")?.tagName).toBe("CANVAS");
  });

  it("mutes by button and key; only `aria-pressed` tells", async () => {
    await show("call-4");
    expect(get("mute-button").getAttribute("aria-pressed")).toBe("false");
    await click("mute-button");
    expect(get("mute-button").getAttribute("aria-pressed")).toBe("true");
    expect(get("announcer").textContent).toContain(words.announced.muted("", ""));
    await press("m");
    expect(get("mute-button").getAttribute("aria-pressed")).toBe("false");
    await press("v");
    expect(get("camera-button").getAttribute("aria-pressed")).toBe("true");
    expect(sent("set_muted")).toHaveLength(2);
  });

  it("opens and closes the device menu", async () => {
    await show("call-4");
    await click("device-menu");
    expect(find("speaker-select")).not.toBeNull();
    await press("Escape");
    expect(find("speaker-select")).toBeNull();
    await click("device-menu");
    document.body.dispatchEvent(new Event("pointerdown", { bubbles: true }));
    await settle();
    expect(find("speaker-select")).toBeNull();
  });

  it("switches parts of the voice processing", async () => {
    await show("call-4");
    await click("device-menu");
    const noise = get("voice-noise_suppression") as HTMLInputElement;
    expect(noise.checked).toBe(true);
    await click("voice-noise_suppression");
    const [name, hint] = words.voice.noise_suppression;
    expect(noise.getAttribute("aria-label")).toBe(name);
    expect(document.getElementById(noise.getAttribute("aria-describedby") ?? "")?.textContent).toBe(
      hint,
    );
    expect(sent("set_voice")).toEqual([
      {
        type: "set_voice",
        echo_cancellation: true,
        noise_suppression: false,
        gain_control: true,
      },
    ]);
    await press("Escape");
    await click("device-menu");
    expect((get("voice-noise_suppression") as HTMLInputElement).checked).toBe(false);
  });

  it("says that the network carries sound only, and shows one's own picture all the same", async () => {
    await show("sound-only");
    const words_of = (id: string) => get(`tile-sound-only-${id}`).textContent.trim();
    expect(words_of("self")).toBe(words.call.soundOnlySelf);
    expect(words_of("2")).toBe(words.call.soundOnly);
    expect(find("tile-sound-only-3")).toBeNull();
    expect(get("tile-2").getAttribute("aria-label")).toContain(words.call.soundOnly);
    expect(get("camera-button").getAttribute("aria-label")).toBe(words.controls.cameraOff);
    backend.update({ call: callView([fakeMember(0), fakeMember(1)]) });
    await settle();
    expect(find("tile-sound-only-self")).toBeNull();
    expect(find("tile-sound-only-2")).toBeNull();
  });

  it("sets how loud a member is heard, and mutes them here only", async () => {
    await show("call-4");
    expect(find("heard-2")).toBeNull();
    await click("menu-2");
    const slider = get("volume-2") as HTMLInputElement;
    slider.value = "150";
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    await settle();
    expect(sent("set_member_volume")).toEqual([
      { type: "set_member_volume", member: 2, volume_percent: 150 },
    ]);
    expect(get("heard-2").textContent).toContain(words.call.percent(150));
    expect(get("tile-2").getAttribute("aria-label")).toContain(words.call.volume(150));
    await click("mute-here-2");
    expect(get("mute-here-2").getAttribute("aria-pressed")).toBe("true");
    expect(get("tile-2").getAttribute("aria-label")).toContain(words.call.mutedHere);
    expect(get("tile-2").getAttribute("aria-label")).not.toContain(`, ${words.call.muted},`);
    await press("Escape");
    expect(find("volume-2")).toBeNull();
    expect(find("heard-2")).not.toBeNull();
    expect(find("volume-self")).toBeNull();
  });

  it("shows who has the floor large, if wanted and among several", async () => {
    await show("call-2");
    expect(find("speaker-view")).toBeNull();
    backend.close();
    backend.update({ call: callView([fakeMember(0), fakeMember(1)]) });
    await settle();
    const grid = () => document.querySelector<HTMLElement>(".grid")?.dataset.main;
    expect(grid()).toBeUndefined();
    await click("speaker-view");
    expect(get("speaker-view").getAttribute("aria-pressed")).toBe("true");
    expect(grid()).toBe("2/camera");
    backend.sendSpeakers([3], 3);
    await settle();
    expect(grid()).toBe("3/camera");
    await click("speaker-view");
    expect(grid()).toBeUndefined();
  });

  it("marks who has the floor", async () => {
    await show("call-4");
    backend.close();
    const marked = () => document.querySelectorAll('[data-active="true"]').length;
    backend.sendSpeakers([4], 4);
    await settle();
    expect(marked()).toBe(1);
    expect(get("tile-4").dataset.active).toBe("true");
    expect(get("tile-4").getAttribute("aria-label")).toContain(words.call.active);
    backend.sendSpeakers([], 4);
    await settle();
    expect(get("tile-4").dataset.active).toBe("true");
  });

  it("copies the code and confirms", async () => {
    const writeText = vi.fn().mockResolvedValue(undefined);
    vi.stubGlobal("navigator", { clipboard: { writeText } });
    await show("call-4");
    await click("copy-code");
    await click("copy-link");
    expect(writeText.mock.calls).toEqual([["K7MQ-2X9D-RTB4"], ["visavis://join/K7MQ-2X9D-RTB4"]]);
    expect(get("copy-code").textContent).toContain(words.invite.copied);
    await settle(2500);
    expect(get("copy-code").textContent).toContain(words.invite.copyCode);
    vi.unstubAllGlobals();
  });

  it("shows each connection's and the server's state", async () => {
    await show("reconnecting");
    expect(get("banner").dataset.kind).toBe("reconnecting");
    expect(get("tile-link-4").textContent).toContain(words.call.links.reconnecting);
    expect(find("tile-link-2")).toBeNull();
  });

  it("says that one is offline", async () => {
    await show("offline");
    expect(get("banner").textContent).toContain(words.banner.offline);
  });

  it("says whose network is weak", async () => {
    await show("weak");
    const name = fakeMember(2).name;
    expect(get("banner").textContent).toContain(words.banner.weak(name));
    expect(get("tile-link-4").textContent).toContain(words.call.links.weak);
  });

  it("announces who comes and goes", async () => {
    await show("call-1");
    backend.update({ call: callView([fakeMember(0)]) });
    await settle();
    expect(get("announcer").textContent).toContain("Ada joined");
    expect(get("tile-self").parentElement?.className).toContain("floating");
    await click("leave-button");
    expect(find("home")).not.toBeNull();
  });

  it("tells why a call ended, and joins it again", async () => {
    await show("no-server");
    expect(get("error").textContent).toBe(words.errors.server_unreachable);
    await click("join-again");
    expect(sent("join_call")).toEqual([{ type: "join_call", code: "K7MQ-2X9D-RTB4" }]);
    expect(find("connecting")).not.toBeNull();
  });
});

it("attaches again when expected frames do not come", async () => {
  await show("call-4"); // no canvas here, so the fake sends no frames
  const attach = vi.spyOn(backend, "attach");
  await settle(1500);
  expect(attach).not.toHaveBeenCalled();
  await settle(1500);
  expect(attach).toHaveBeenCalledTimes(1);
});

it("opens help with ?, but not while typing", async () => {
  await show("home");
  await press("?", get("name-input"));
  expect(find("help")).toBeNull();
  await press("?");
  expect(find("help")).not.toBeNull();
  await press("Escape");
  expect(find("help")).toBeNull();
});
