/**
 * A backend without an engine: a small script that behaves like a call. For development in a
 * browser (`?scene=…` picks where it starts), for tests and for screenshots.
 */

import type { AppView } from "../generated/AppView";
import type { CallView } from "../generated/CallView";
import type { ChoicesView } from "../generated/ChoicesView";
import type { ErrorCode } from "../generated/ErrorCode";
import type { MemberView } from "../generated/MemberView";
import type { ChatMessageView } from "../generated/ChatMessageView";
import type { RecentRoomView } from "../generated/RecentRoomView";
import type { ShareView } from "../generated/ShareView";
import type { SoundTestState } from "../generated/SoundTestState";
import type { TransferView } from "../generated/TransferView";
import type { UiCommand } from "../generated/UiCommand";
import type { UiEvent } from "../generated/UiEvent";
import type { MemberId } from "../generated/MemberId";
import { checkCode } from "../input/code";
import { nameOfPath } from "../state/drop";
import { SELF_MEMBER } from "../video/header";
import { tileKey, type TileId } from "../video/tile";
import type { Backend, BackendSink } from "./backend";
import { advance, commandTransfers, fakeMessage, fakeTransfer, ownMessage } from "./fake-chat";
import { FakePictures } from "./fake-pictures";
import { cared } from "./fake-care";
import { callView, fakeChoices, fakeMember, SCENES, startOf, type Scene } from "./fake-scenes";
import { FAKE_SHARES } from "./fake-shares";

/** Joining this code finds no room. */
export const UNKNOWN_CODE = "0000-0000-0000";
const LEVELS_MS = 100;
const TRANSFERS_MS = 500;
/** What a file chooser gives that is not there. */
const PICKED = ["/data/mina/Sketch.png", "/data/mina/List.txt"];

export class FakeBackend implements Backend {
  /** Commands received, newest last; the last 1000 of them. */
  readonly commands: UiCommand[] = [];
  private view: AppView;
  private choices: ChoicesView;
  private rooms: RecentRoomView[];
  private failure: ErrorCode | undefined;
  private events: UiEvent[];
  private sink: BackendSink | null = null;
  private epoch = 0;
  private visible: TileId[] = [];
  private preview = false;
  private readonly pictures: FakePictures;
  private levels: ReturnType<typeof setInterval> | undefined;
  private flow: ReturnType<typeof setInterval> | undefined;
  private script: ReturnType<typeof setTimeout>[] = [];
  private testing: ReturnType<typeof setTimeout>[] = [];

  constructor(scene: Scene, language = fakeChoices.language) {
    const start = startOf(scene);
    this.view = start.view;
    this.choices = { ...fakeChoices, language, ...start.choices };
    this.rooms = start.rooms ?? [];
    this.failure = start.failure;
    this.events = start.events ?? [];
    const send = (message: ArrayBuffer) => this.sink?.handleFrames(message);
    this.pictures = new FakePictures(send, scene === "crowd");
  }

  /** The scene named in the address, or home; in the `language` named there, if one is. */
  static fromUrl(href: string): FakeBackend {
    const asked = new URL(href).searchParams;
    const scene = SCENES.find((one) => one === asked.get("scene")) ?? "home";
    return new FakeBackend(scene, asked.get("language") ?? undefined);
  }

  attach(sink: BackendSink): Promise<void> {
    this.sink = sink;
    this.epoch += 1;
    sink.handleEvent({ type: "frame_epoch", epoch: this.epoch });
    sink.handleEvent({ type: "view", view: this.view });
    if (this.failure) sink.handleEvent({ type: "failed", code: this.failure });
    this.failure = undefined;
    for (const event of this.events.splice(0)) sink.handleEvent(event);
    this.pictures.start(this.epoch);
    this.levels ??= setInterval(() => {
      this.sendLevels();
    }, LEVELS_MS);
    return Promise.resolve();
  }

  dispatch(command: UiCommand): Promise<void> {
    this.commands.push(command);
    if (this.commands.length > 1000) this.commands.shift();
    this.obey(command);
    return Promise.resolve();
  }

  /** Stops timers. */
  close(): void {
    clearInterval(this.levels);
    clearInterval(this.flow);
    this.cancelScript();
    for (const timer of this.testing) clearTimeout(timer);
    this.pictures.close();
  }

  /** Changes the state and tells the UI, as the engine would. */
  update(more: Partial<AppView>): void {
    this.view = { ...this.view, ...more };
    this.sink?.handleEvent({ type: "view", view: this.view });
    this.aim();
  }

  fail(code: ErrorCode): void {
    this.send({ type: "failed", code });
  }

  /** Hands an event to the UI. */
  send(event: UiEvent): void {
    this.sink?.handleEvent(event);
  }

  /** Adds to the chat, or changes what is in it. */
  say(...messages: ChatMessageView[]): void {
    this.send({ type: "chat", reset: false, messages });
  }

  setTransfers(transfers: TransferView[]): void {
    if (this.view.call) this.update({ call: { ...this.view.call, transfers } });
  }

  /** Tells levels of one's choice: who speaks and who has the floor. */
  sendSpeakers(speaking: readonly number[], active_speaker: number | null): void {
    const members = this.view.call?.members ?? [];
    this.sink?.handleEvent({
      type: "levels",
      microphone: 0,
      active_speaker,
      members: members.map(({ id }) => {
        const speaks = speaking.includes(id);
        return { member: id, level: speaks ? 0.5 : 0, speaking: speaks };
      }),
    });
  }

  private obey(command: UiCommand): void {
    const { devices, settings } = this.view;
    switch (command.type) {
      case "refresh":
        this.send({ type: "choices", choices: this.choices });
        this.send({ type: "rooms", rooms: this.rooms });
        this.update({});
        break;
      case "refresh_devices":
        this.update({});
        break;
      case "start_call":
        this.enter(callView([]), [
          [2500, () => this.setMembers([fakeMember(0, { link: "connecting", codec: null })])],
          [700, () => this.setMembers([fakeMember(0)])],
          [4000, () => this.setMembers([fakeMember(0), fakeMember(1, { muted: true })])],
        ]);
        break;
      case "join_call": {
        const check = checkCode(command.code);
        if (check.kind !== "complete") this.fail("code_invalid");
        else if (check.code === UNKNOWN_CODE) this.fail("room_not_found_on_lan");
        else this.enter(callView([fakeMember(0), fakeMember(2)], { code: check.code }), []);
        break;
      }
      case "leave_call":
        this.cancelScript();
        this.update({ call: null });
        break;
      case "set_muted":
        this.update({ muted: command.muted });
        break;
      case "set_camera":
        this.update({ camera_on: command.on });
        break;
      case "set_name":
        this.update({ settings: { ...settings, name: command.name.trim() } });
        break;
      case "set_server":
        this.update({ settings: { ...settings, server: command.url } });
        break;
      case "select_device": {
        const device = { ...devices[command.kind], selected: command.id };
        this.update({ devices: { ...devices, [command.kind]: device } });
        break;
      }
      case "set_voice": {
        const { echo_cancellation, noise_suppression, gain_control } = command;
        const voice = { echo_cancellation, noise_suppression, gain_control };
        this.update({ settings: { ...settings, voice } });
        break;
      }
      case "set_member_volume":
        this.changeMember(command.member, { volume_percent: command.volume_percent });
        break;
      case "set_member_muted_here":
        this.changeMember(command.member, { muted_here: command.muted });
        break;
      case "start_sound_test":
        this.test([
          [300, { state: "starting" }],
          ...countdown((remaining_s) => ({ state: "recording", remaining_s })),
          ...countdown((remaining_s) => ({ state: "playing", remaining_s })),
        ]);
        break;
      case "play_test_tone":
        this.test([
          [150, { state: "starting" }],
          [1300, { state: "tone" }],
        ]);
        break;
      case "stop_sound_test":
        this.endTest();
        break;
      case "set_preview":
        this.preview = command.on;
        if (!command.on) this.endTest();
        this.aim();
        break;
      case "set_visible_tiles":
        this.visible = command.tiles.map(({ member, source }) => ({ member, source }));
        this.aim();
        break;
      case "frame_credit":
        this.pictures.credit(command.epoch, command.messages);
        break;
      case "need_keyframe":
        this.pictures.keyframe(command);
        break;
      case "set_delivery":
        if (command.delivery === "i420") this.pictures.deliverI420(command);
        break;
      case "send_chat":
        this.answer(command.text);
        break;
      case "send_reaction":
        this.send({ type: "reaction", member: SELF_MEMBER, emoji: command.emoji });
        break;
      case "set_low_data":
        this.update({ settings: { ...settings, low_data: command.on } });
        break;
      case "set_tint":
        this.update({ settings: { ...settings, tint: command.tint } });
        break;
      case "care":
        if (this.view.call) this.update({ call: cared(this.view.call, command.command) });
        break;
      case "set_hand_raised":
        if (this.view.call) {
          this.update({ call: { ...this.view.call, hand_raised: command.raised } });
        }
        break;
      case "list_shares":
        this.send({ type: "shares", options: FAKE_SHARES });
        break;
      case "start_share":
        this.setShare({ id: command.id, state: { state: "running" } });
        break;
      case "stop_share":
        this.setShare(null);
        break;
      case "offer_files":
        this.offer(command.to, command.paths);
        break;
      case "pick_files":
        this.offer(command.to, PICKED);
        break;
      case "paste_files":
        this.send({ type: "dropped", paths: [...PICKED] });
        break;
      case "pick_folder": {
        const { offer, member } = command;
        this.obey({ type: "accept_files", offer, member, folder: "/data/mina/Pictures" });
        break;
      }
      case "accept_files":
      case "decline_files":
      case "pause_transfer":
      case "cancel_transfer":
      case "dismiss_transfer":
        this.setTransfers(commandTransfers(this.view.call?.transfers ?? [], command));
        this.startFlow();
        break;
      case "set_choices":
        this.choices = command.choices;
        if (!command.choices.keep_rooms) this.rooms = [];
        this.send({ type: "choices", choices: this.choices });
        this.send({ type: "rooms", rooms: this.rooms });
        break;
      case "forget_room":
        this.rooms = this.rooms.filter((room) => room.code !== command.code);
        this.send({ type: "rooms", rooms: this.rooms });
        break;
      case "forget_rooms":
        this.rooms = [];
        this.send({ type: "rooms", rooms: [] });
        break;
      case "answer_closing":
      case "name_tray":
      case "notify":
      case "open_link":
      case "reveal_file":
      case "save_report":
      case "set_mini":
        break;
    }
  }

  /** One's own message gets through by and by, and somebody answers. */
  private answer(text: string): void {
    const own = ownMessage(text, { sent_at_ms: Date.now(), delivery: "sending" });
    this.say(own);
    const members = this.view.call?.members ?? [];
    const [first] = members;
    if (!first) return;
    const { id, name } = first;
    const steps: [number, ChatMessageView][] = [
      [300, { ...own, delivery: "partly" }],
      [700, { ...own, delivery: "delivered" }],
      [2500, fakeMessage("I see!", { from: id, name, sent_at_ms: Date.now() + 2500 })],
    ];
    this.script.push(...steps.map(([ms, one]) => setTimeout(() => this.say(one), ms)));
  }

  private offer(to: MemberId | null, paths: readonly string[]): void {
    const members = this.view.call?.members ?? [];
    const [path] = paths;
    if (path === undefined || members.length === 0) {
      this.fail("receiver_gone");
      return;
    }
    const receivers = members.filter((one) => to === null || one.id === to);
    const offered = receivers.map(({ id, name }) => {
      const file = nameOfPath(path);
      const more = { member: id, member_name: name, name: file, files: paths.length };
      return fakeTransfer({ ...more, outgoing: true, state: { state: "offered" } });
    });
    this.setTransfers([...(this.view.call?.transfers ?? []), ...offered]);
    this.startFlow();
  }

  /** From the first touch on transfers move; until then a scene stands still. */
  private startFlow(): void {
    this.flow ??= setInterval(() => {
      this.advanceTransfers();
    }, TRANSFERS_MS);
  }

  private advanceTransfers(): void {
    const transfers = this.view.call?.transfers ?? [];
    const later = transfers.map(advance);
    if (later.some((one, at) => one !== transfers[at])) this.setTransfers(later);
  }

  private changeMember(id: number, more: Partial<MemberView>): void {
    const members = this.view.call?.members ?? [];
    this.setMembers(members.map((one) => (one.id === id ? { ...one, ...more } : one)));
  }

  /** Goes through the states, each for its time. */
  private test(steps: [for_ms: number, state: SoundTestState][]): void {
    const refused = this.view.call !== null || this.view.sound_test.state !== "idle";
    if (refused) {
      this.fail("bad_state");
      return;
    }
    let at_ms = 0;
    for (const [for_ms, sound_test] of steps) {
      this.testing.push(setTimeout(() => this.update({ sound_test }), at_ms));
      at_ms += for_ms;
    }
    this.testing.push(setTimeout(() => this.endTest(), at_ms));
  }

  private endTest(): void {
    for (const timer of this.testing) clearTimeout(timer);
    this.testing = [];
    if (this.view.sound_test.state !== "idle") this.update({ sound_test: { state: "idle" } });
  }

  private enter(call: CallView, then: [after_ms: number, act: () => void][]): void {
    this.cancelScript();
    this.update({ call: { ...call, phase: { phase: "connecting" }, me: null, members: [] } });
    let at_ms = 900;
    const steps: [number, () => void][] = [[at_ms, () => this.update({ call })]];
    for (const [after_ms, act] of then) {
      at_ms += after_ms;
      steps.push([at_ms, act]);
    }
    this.script = steps.map(([after_ms, act]) => setTimeout(act, after_ms));
  }

  private setMembers(members: MemberView[]): void {
    if (this.view.call) this.update({ call: { ...this.view.call, members } });
  }

  private setShare(share: ShareView | null): void {
    if (this.view.call) this.update({ call: { ...this.view.call, share } });
  }

  private cancelScript(): void {
    for (const timer of this.script) clearTimeout(timer);
    this.script = [];
  }

  /** Only people who are visible and whose camera is on are drawn. */
  private aim(): void {
    const { call, camera_on, devices } = this.view;
    const own = camera_on && devices.camera.state.state === "running" && (call ?? this.preview);
    const members = call?.members.filter((one) => one.camera_on && one.codec !== null) ?? [];
    const cameras = [...members.map((one) => one.id), ...(own ? [SELF_MEMBER] : [])];
    const sharing = call?.members.filter((one) => one.sharing) ?? [];
    const sending: TileId[] = [
      ...cameras.map((member) => ({ member, source: "camera" as const })),
      ...sharing.map((one) => ({ member: one.id, source: "screen" as const })),
    ];
    const visible = this.visible.map(tileKey);
    this.pictures.setWanted(sending.filter((id) => visible.includes(tileKey(id))));
  }

  private sendLevels(): void {
    const now = Date.now();
    const members = this.view.call?.members ?? [];
    const turn = Math.floor(now / (members.length > 40 ? 700 : 4000)) % Math.max(1, members.length);
    const running = this.view.devices.microphone.state.state === "running";
    const active = members[turn];
    this.sink?.handleEvent({
      type: "levels",
      active_speaker: active && !active.muted ? active.id : null,
      // In company one listens.
      microphone: running ? wave(now) * (members.length === 0 ? 0.5 : 0.05) : 0,
      members: members.map((member, at) => {
        const speaking = at === turn && !member.muted && member.link === "connected";
        return { member: member.id, level: speaking ? wave(now + at * 70) : 0, speaking };
      }),
    });
  }
}

/** A state for each of four seconds, counting down. */
function countdown(state: (remaining_s: number) => SoundTestState): [number, SoundTestState][] {
  return [4, 3, 2, 1].map((remaining_s) => [1000, state(remaining_s)]);
}

/** Something that moves like a voice, 0 to 1. */
function wave(now_ms: number): number {
  const slow = Math.abs(Math.sin(now_ms / 700));
  return Math.min(1, slow * (0.55 + 0.35 * Math.abs(Math.sin(now_ms / 90))));
}
