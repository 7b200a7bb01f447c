/**
 * Every English word the app shows. Another language is another module of type {@link Words}: what is
 * added here is added there.
 */

import type { Cause } from "../generated/Cause";
import type { ChatDelivery } from "../generated/ChatDelivery";
import type { DeviceKind } from "../generated/DeviceKind";
import type { ErrorCode } from "../generated/ErrorCode";
import type { LinkView } from "../generated/LinkView";
import type { PathView } from "../generated/PathView";
import type { ShareKind } from "../generated/ShareKind";
import type { VideoCodec } from "../generated/VideoCodec";
import type { VoiceView } from "../generated/VoiceView";
import type { Platform } from "../input/platform";
import type { KeyAction } from "../input/keys";
import type { Announcement } from "../state/announce";
import type { TransferAction } from "../state/transfers";

const errors: Record<ErrorCode, string> = {
  bad_message: "The server and this app do not understand each other. Are both up to date?",
  unknown_type: "The server and this app do not understand each other. Are both up to date?",
  message_too_large: "Something sent was too large for the server.",
  bad_version: "The server runs a version this app cannot talk to. Please update.",
  not_joined: "You are not in this call any more.",
  already_joined: "You are in this call already.",
  room_auth_failed: "This code does not open the call. Please check it.",
  room_full: "This call is full.",
  server_full: "The server cannot take another call right now. Please try again later.",
  unknown_member: "This person is not in the call any more.",
  resume_failed: "You were away too long to be put back. Please join again.",
  seat_taken: "You joined this call from another window.",
  rate_limited: "Too many attempts. Please wait a moment and try again.",
  timed_out: "The server stopped answering.",
  server_closing: "The server was shut down.",
  too_slow: "The connection is too slow to keep up with the call.",
  not_supported: "This is not possible yet.",
  code_invalid: "This is not a call code. A code has 12 letters and digits, like K7MQ-2X9D-RTB4.",
  room_not_found_on_lan:
    "No call with this code was found on your network. Check the code, or set a server under Connection to call over the Internet.",
  server_address_invalid: "This is not a server address. It looks like wss://calls.example.org.",
  server_unreachable: "The server cannot be reached. Check your connection and the address.",
  host_failed: "This app could not open the call on your network.",
  link_failed: "The connection could not be made.",
  seal_broken: "A message could not be decrypted and was dropped.",
  camera_not_found: "No camera was found. Others see your initials.",
  camera_busy: "Another app is using the camera. It starts here once it is free.",
  camera_denied: "The system does not let Visavis use the camera.",
  camera_lost: "The camera stopped. It starts again once it is back.",
  microphone_not_found: "No microphone was found. Others cannot hear you.",
  microphone_busy: "Another app is using the microphone. It starts here once it is free.",
  microphone_denied: "The system does not let Visavis use the microphone.",
  microphone_lost: "The microphone stopped. It starts again once it is back.",
  speaker_lost: "There is no working speaker. You cannot hear the others.",
  speaker_busy: "Another app is using the speaker. You hear the others once it is free.",
  share_not_found: "What you wanted to share is not there any more.",
  share_denied: "The system does not let Visavis see the screen. Allow it in the privacy settings.",
  share_lost: "The shared screen or window cannot be seen any more. Sharing has ended.",
  codec_failed: "Video or sound could not be processed.",
  file_failed: "A file could not be read or written.",
  file_not_found: "A file or folder is not there any more.",
  file_denied: "The system does not let Visavis use this file or folder.",
  disk_full: "There is not enough free space on the disk.",
  file_changed: "The file was changed while it was being sent. Please send it again.",
  file_corrupt: "What arrived is not what was sent. Please ask for the file again.",
  file_too_large: "This is larger than can be sent.",
  too_many_files: "These are too many files at once. Please send fewer, or pack them into one.",
  receiver_gone: "There is nobody to send this to.",
  bad_state: "This is not possible right now.",
  bad_argument: "This value is not accepted.",
  internal: "Something went wrong inside Visavis. The log says more.",
};

const devices: Record<DeviceKind, string> = {
  camera: "Camera",
  microphone: "Microphone",
  speaker: "Speaker",
};

const noDevices: Record<DeviceKind, string> = {
  camera: "No camera",
  microphone: "No microphone",
  speaker: "No speaker",
};

const links: Record<LinkView, string> = {
  connecting: "Connecting…",
  connected: "",
  reconnecting: "Reconnecting…",
  weak: "Weak network, reconnecting…",
  failed: "Cannot connect",
};

interface CauseWords {
  /** What is the matter. With the name of whom it is about, where it is about one. */
  sentence: (name: string | null) => string;
  /** What helps. */
  advice: (name: string | null) => string;
}

const causes: Record<Cause, CauseWords> = {
  my_cpu: {
    sentence: () => "Your computer is too busy to keep up with the call.",
    advice: () => "Close other programs, or turn your camera off for a while.",
  },
  bursts: {
    sentence: () => "The connection drops out for moments, as weak Wi-Fi does.",
    advice: () => "Move closer to the router, or use a cable.",
  },
  my_uplink: {
    sentence: () => "Your upload cannot keep up, so others see and hear you badly.",
    advice: () => "Stop uploads and backups, use a cable, or turn your camera off.",
  },
  my_downlink: {
    sentence: () => "Your download cannot keep up, so you see and hear everybody badly.",
    advice: () => "Stop downloads and streams on your network, or use a cable.",
  },
  my_connection: {
    sentence: () => "Your connection is bad in both directions.",
    advice: () => "Stop other traffic on your network, move closer to the router, or use a cable.",
  },
  between: {
    sentence: (name) => `The connection between you and ${name ?? ""} is bad.`,
    advice: () => "With two people it cannot be told whose side it is. Both can try a cable.",
  },
  other_side: {
    sentence: (name) => `The trouble is on ${name ?? ""}’s side.`,
    advice: (name) => `Nothing you can change here. ${name ?? ""} can see what it is in their app.`,
  },
  relay_path: {
    sentence: (name) =>
      name === null
        ? "The call takes a long way through a relay, so answers come late."
        : `The way to ${name} goes through a distant relay, so answers come late.`,
    advice: () => "A network that allows direct connections (UDP) makes it shorter.",
  },
};

const paths: Record<PathView, string> = {
  host: "direct",
  srflx: "direct (NAT)",
  relay: "relay",
  sfu: "server",
};

const codecs: Record<VideoCodec, string> = { vp8: "VP8", vp9: "VP9", h264: "H.264" };

/** With a name, and what else there is to say. */
const announced: Record<Announcement["kind"], (name: string, more: string) => string> = {
  member_joined: (name) => `${name} joined`,
  member_left: (name) => `${name} left`,
  muted: () => "Microphone muted",
  unmuted: () => "Microphone on",
  camera_on: () => "Camera on",
  camera_off: () => "Camera off",
  connecting: () => "Connecting to the call",
  joined: () => "You are in the call",
  reconnecting: () => "Connection lost, reconnecting",
  reconnected: () => "Connected again",
  offline: () => "You are offline",
  ended: () => "The call has ended",
  hand_raised: (name) => `${name} raised a hand`,
  my_hand_raised: () => "Your hand is raised",
  my_hand_lowered: () => "Your hand is down",
  share_started: (name) => `${name} shares a screen`,
  share_ended: (name) => `${name} does not share a screen any more`,
  my_share_started: () => "You are sharing",
  my_share_ended: () => "You are not sharing any more",
  sound_only: () => "Low bandwidth: sound only",
  picture_back: () => "Your picture is sent again",
  message: (name, text) => `${name}: ${text}`,
  messages: (_, count) => `${count} new messages`,
  reaction: (name, emoji) => `${name}: ${emoji}`,
  offered: (name, file) => `${name} wants to send you ${file}`,
  received: (name, file) => `${file} from ${name} is saved`,
  sent: (name, file) => `${file} is sent to ${name}`,
  transfer_failed: (_, file) => `${file} could not be transferred`,
};

export const en = {
  app: "Visavis",
  tagline: "Face to face, with nothing but a code.",
  pitch: "Start a call and share its code, or join with one you were given.",
  loading: "Starting…",
  errors,
  home: {
    name: "Your name",
    namePlaceholder: "How others see you",
    start: "Start a call",
    or: "or join one",
    code: "Call code",
    codeHint: "12 letters and digits, or the whole invite link",
    join: "Join",
    codeEmpty: "Type the code you were given, like K7MQ-2X9D-RTB4.",
    codeShort: (missing: number) =>
      missing === 1 ? "One character is missing." : `${String(missing)} characters are missing.`,
    codeLong: "This is too long for a code. A code has 12 letters and digits.",
    codeBadSymbol: (symbol: string) => `“${symbol}” does not occur in codes.`,
  },
  connection: {
    title: "Connection",
    local: "Local network",
    server: "Server",
    placeholder: "wss://calls.example.org",
    hint: "Leave it empty to call on your local network. With a server the same codes work over the Internet.",
    lowData: "Save data",
    lowDataHint: "Sends a smaller picture, at most about 110 MB an hour.",
  },
  preview: {
    region: "Camera and microphone",
    off: "Your camera is off",
    starting: "The camera is starting…",
    silent: "Nothing is heard from this microphone. Is it switched off or turned down?",
    muted: "Muted",
    level: "Microphone level",
  },
  voice: {
    title: "Sound processing",
    summary: (on: number) => (on === 3 ? "All on" : on === 0 ? "All off" : `${String(on)} of 3 on`),
    echo_cancellation: ["Echo cancellation", "Others do not hear their own echo."],
    noise_suppression: ["Noise suppression", "Lowers fans and other steady noise."],
    gain_control: ["Automatic volume", "Keeps your voice at one level."],
  } as {
    title: string;
    summary: (on: number) => string;
  } & Record<keyof VoiceView, [name: string, hint: string]>,
  soundTest: {
    region: "Sound test",
    start: "Test my sound",
    startHint: "Records four seconds and plays them back. Nothing is sent.",
    tone: "Play a tone",
    toneHint: "Plays a short chime on your speaker.",
    starting: "Opening the devices…",
    recording: (seconds: number) => `Say something: recording, ${String(seconds)} s`,
    playing: (seconds: number) => `This is how others hear you, ${String(seconds)} s`,
    sounding: "You should hear two notes",
    cancel: "Cancel",
  },
  allow: {
    linux: {
      camera: "Add your user to the group “video”, then sign out and in again.",
      microphone: "Look whether the desktop’s privacy settings switched the microphone off.",
    },
    macos: {
      camera:
        "Open System Settings, Privacy & Security, Camera, switch Visavis on and start it again.",
      microphone:
        "Open System Settings, Privacy & Security, Microphone, switch Visavis on and start it again.",
    },
    windows: {
      camera: "Open Settings, Privacy & security, Camera, and let desktop apps access your camera.",
      microphone:
        "Open Settings, Privacy & security, Microphone, and let desktop apps access your microphone.",
    },
  } satisfies Record<Platform, Record<"camera" | "microphone", string>>,
  devices,
  noDevices,
  systemDefault: "System default",
  refreshDevices: "Look for devices again",
  settings: {
    title: "Settings",
    tabs: {
      general: "General",
      devices: "Devices",
      quality: "Sound and picture",
      connection: "Connection",
      keys: "Shortcuts",
      help: "Diagnostics",
    },
    language: "Language",
    theme: "Appearance",
    system: "As the system",
    light: "Light",
    dark: "Dark",
    notifications: "Notifications",
    notificationsHint: "Tells of messages, files and people who join while you look elsewhere.",
    keepRooms: "Remember calls",
    keepRoomsHint: "Kept on this computer only. Whoever knows a code can join.",
    globalMute: "Mute from anywhere",
    globalMuteHint: (key: string) =>
      `${key} mutes and unmutes while you use another program. Wayland does not allow it.`,
    keysHint: "Press a key’s button, then the new key. Delete takes it away.",
    pressKey: "Press a key…",
    noKey: "None",
    resetKeys: "All as they were",
    lowData: "Picture",
    diagnostics: "Report about the connection",
    diagnosticsHint: "Figures of the last minute of a call. No names, codes or addresses.",
    saveReport: "Save report…",
  },
  rooms: {
    title: "Recent calls",
    join: (code: string) => `Join ${code} again`,
    met: (names: string) => `with ${names}`,
    nobody: "nobody else came",
    forget: (code: string) => `Forget ${code}`,
    forgetAll: "Forget all",
    forgot: "Forgotten",
  },
  invited: {
    title: "Join this call?",
    hint: "You opened an invite. Your camera and microphone start as they are set.",
    leaves: "You leave the call you are in.",
    join: "Join",
    cancel: "Not now",
  },
  closing: {
    title: "Leave the call?",
    hint: "Closing the window ends the call for you.",
    close: "Leave and close",
    stay: "Stay",
  },
  tray: { show: "Show Visavis" },
  controls: {
    mute: "Mute",
    unmute: "Unmute",
    cameraOff: "Turn camera off",
    cameraOn: "Turn camera on",
    devices: "Camera, microphone and speaker",
    leave: "Leave",
    speakerView: "Speaker view",
    gridView: "Show everybody alike",
    help: "Keyboard shortcuts",
    chat: "Chat and files",
    network: "Connection details",
    raiseHand: "Raise hand",
    lowerHand: "Lower hand",
    react: "React",
    close: "Close",
    dismiss: "Dismiss",
    region: "Call controls",
  },
  share: {
    start: "Share a screen or window",
    stop: "Stop sharing",
    title: "What do you want to share?",
    hint: "Everybody in the call sees it, and your pointer. Its sound is not shared.",
    kinds: { screen: "Screens", window: "Windows" } as Record<ShareKind, string>,
    listing: "Looking for screens and windows…",
    none: "This system shows Visavis no screen and no window.",
    starting: "Sharing begins…",
    sharing: (name: string | null) =>
      name === null ? "You are sharing" : `You are sharing “${name}”`,
    of: (name: string) => `${name}’s screen`,
    waiting: "Waiting for the picture…",
    choose: "Shared screens",
    zoom: "Zoom",
    closer: "Zoom in",
    farther: "Zoom out",
    fit: "Fit to the window",
    actual: (percent: number) => `${String(percent)} %: show at actual size`,
  },
  invite: {
    copyCode: "Copy code",
    copyLink: "Copy link",
    copied: "Copied",
    failed: "Could not copy",
    title: "You are the first one here",
    say: "Say this code to the other person, or send them the link.",
    qr: "The invite link as a QR code",
    showQr: "Show QR code",
    hideQr: "Hide QR code",
    secret: "Whoever knows it can join. Nobody else can, not even the server.",
  },
  call: {
    region: "People in the call",
    you: "You",
    nameless: "Guest",
    muted: "muted",
    speaking: "speaking",
    cameraOff: "camera off",
    active: "has the floor",
    mutedHere: "muted for you",
    volume: (percent: number) => `volume ${String(percent)} %`,
    handRaised: "hand raised",
    soundOnly: "Sound only: weak network",
    soundOnlySelf: "Low bandwidth: sound only",
    percent: (percent: number) => `${String(percent)} %`,
    sound: (name: string) => `Volume of ${name}`,
    links,
    pinned: "pinned",
  },
  stage: {
    more: "More",
    pages: "Pages of people",
    page: (page: number, pages: number) => `Page ${String(page)} of ${String(pages)}`,
    previous: "Previous page",
    next: "Next page",
    menu: (name: string) => `Options for ${name}`,
    ownMenu: "Options for your own picture",
    pin: "Pin",
    unpin: "Unpin",
    muteHere: "Mute for me",
    hideSelf: "Hide my picture",
    showSelf: "Show my picture",
    moveSelf: "Move your picture with the arrow keys",
    sealed: "End-to-end encrypted",
    unheard: (mute: string | null, talk: string | null) =>
      talk === null
        ? `You are muted.${mute === null ? "" : ` Press ${mute} to speak.`}`
        : `You are muted. Hold ${talk} to speak${mute === null ? "" : `, or press ${mute}`}.`,
    fullScreen: "Full screen",
    leaveFullScreen: "Leave full screen",
    mini: "Mini window",
    leaveMini: "Back to the large window",
  },
  people: {
    title: "People",
    count: (people: number) => (people === 1 ? "1 person" : `${String(people)} people`),
    pin: (name: string) => `Pin ${name}`,
  },
  chat: {
    title: "Chat",
    messages: "Messages",
    empty: "No messages yet",
    emptyHint: "What you write goes to everybody in the call, and to nobody else.",
    placeholder: "Write to everybody",
    send: "Send",
    left: (chars: number) => `${String(chars)} left`,
    tooLong: (chars: number) => `${String(chars)} too many`,
    newest: "New messages",
    unread: (count: number) => (count === 1 ? "1 new message" : `${String(count)} new messages`),
    delivery: {
      sending: "Sending…",
      partly: "Not everybody has it yet",
      delivered: "Delivered",
    } satisfies Record<ChatDelivery, string>,
  },
  files: {
    title: "Files",
    attach: "Send files",
    attachTo: "Send files to",
    everybody: "Everybody",
    dropTitle: "Drop to send",
    dropToOne: (name: string) => `Drop to send to ${name}`,
    dropOne: "Nothing is saved before it is accepted.",
    dropSeveral: "You choose next who gets it.",
    dropNobody: "Nobody is here yet to send this to.",
    dropped: (names: string[]) =>
      names.length === 1
        ? (names[0] ?? "")
        : `${names[0] ?? ""} and ${String(names.length - 1)} more`,
    question: (name: string) => `${name} wants to send you`,
    count: (files: number) => (files === 1 ? "1 file" : `${String(files)} files`),
    folder: "Folder",
    queue: (more: number) =>
      more === 1 ? "1 more offer waits" : `${String(more)} more offers wait`,
    unsure: "Save it only if you know what it is.",
    later: "Decide later",
    progress: (percent: number) => `${String(percent)} %`,
    to: (name: string) => `To ${name}`,
    from: (name: string) => `From ${name}`,
    toEverybody: "To everybody",
    actions: {
      accept: "Save",
      accept_to: "Save to…",
      decline: "Decline",
      pause: "Pause",
      resume: "Resume",
      cancel: "Cancel",
      reveal: "Show in folder",
      dismiss: "Remove from the list",
    } satisfies Record<TransferAction, string>,
    states: {
      preparing: "Reading…",
      offered: (name: string) => `Waiting for ${name} to accept`,
      asking: "Waits for your answer",
      starting: "Starting…",
      of: (done: string, all: string) => `${done} of ${all}`,
      left: (time: string) => `${time}\u00a0left`,
      pausedByMe: "Paused",
      pausedBy: (name: string) => `Paused by ${name}`,
      interrupted: "No connection, goes on by itself",
      sent: "Sent",
      received: "Saved",
      declinedByMe: "You declined",
      declinedBy: (name: string) => `${name} declined`,
      cancelledByMe: "You cancelled",
      cancelledBy: (name: string) => `${name} cancelled`,
    },
  },
  network: {
    title: "Connection",
    causes,
    fine: "Nothing stands in the way of this call.",
    fineAdvice: "This is looked at once a second; what gets in the way is told here.",
    waiting: "Figures come with the first person who joins.",
    details: "Details",
    people: "What arrives from the others",
    columns: {
      person: "From",
      picture: "Picture",
      bitrate: "Rate",
      loss: "Lost",
      concealed: "Made up",
      rtt: "Delay",
      jitter: "Jitter",
      path: "Way",
    },
    size: (width: string, height: string, fps: string) =>
      `${width}\u00a0×\u00a0${height}, ${fps}\u00a0fps`,
    codecs,
    paths,
    up: {
      title: "What you send",
      picture: "Your picture",
      none: "not sent",
      sending: "Sending",
      room: "Room for",
      of: (room: string, wanted: string) => `${room} of ${wanted} wanted`,
      loss: "Lost on the way",
      receiving: "Receiving",
      encoder: "Encoder busy",
    },
    copy: "Copy report",
    save: "Save report…",
    private: "The report holds the last minute’s figures. No names, codes or addresses.",
  },
  reactions: [
    ["👍", "Thumbs up"],
    ["❤️", "Heart"],
    ["😂", "Laughing"],
    ["🎉", "Party"],
    ["👏", "Applause"],
    ["😮", "Astonished"],
  ] as [emoji: string, name: string][],
  hands: (count: number) => (count === 1 ? "1 hand raised" : `${String(count)} hands raised`),
  connecting: { title: "Connecting…", hint: "Looking for the call", cancel: "Cancel" },
  ended: {
    title: "The call has ended",
    failed: "The call could not go on",
    left: "You can come back any time with the same code.",
    again: "Join again",
    home: "Back to start",
  },
  banner: {
    reconnecting: "The connection to the server was lost. Reconnecting; you stay in the call.",
    offline: "You are offline. The call goes on by itself once there is a network again.",
    weak: (name: string) =>
      `${name}’s network is weak. You hear them again as soon as it recovers.`,
    silent: "Your microphone delivers no sound. Is it switched off or turned down?",
    link: (name: string) => `No connection to ${name} could be made. It is tried again.`,
  },
  announced,
  help: {
    title: "Keyboard shortcuts",
    actions: {
      talk: "Hold to talk while muted",
      toggle_mute: "Mute or unmute",
      toggle_camera: "Camera on or off",
      toggle_share: "Share a screen or window, or stop sharing",
      toggle_hand: "Raise or lower your hand",
      toggle_chat: "Chat and files",
      toggle_people: "People",
      toggle_layout: "Speaker view or everybody alike",
      previous_page: "Previous page of people",
      next_page: "Next page of people",
      toggle_self_view: "Show or hide yourself",
      toggle_full_screen: "Full screen",
      toggle_mini: "Mini window",
      toggle_settings: "Settings",
      toggle_help: "This overview",
      close: "Close what is open",
    } satisfies Record<KeyAction, string> as Record<KeyAction, string>,
    keyNames: {
      " ": "Space",
      Escape: "Esc",
      PageUp: "Page Up",
      PageDown: "Page Down",
    },
  },
};

export type Words = typeof en;
