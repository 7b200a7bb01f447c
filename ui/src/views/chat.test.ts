import { describe, expect, it, vi } from "vitest";
import { fakeMessage, fakeTransfer } from "../backend/fake-chat";
import { callView, fakeMember } from "../backend/fake-scenes";
import { MOST_CHARS } from "../input/draft";
import { words } from "../words/words";
import { backend, click, find, get, press, sent, settle, show, type } from "./harness";

const field = () => get("chat-input") as HTMLTextAreaElement;
const texts = () =>
  [...document.querySelectorAll('[data-testid="chat-message"]')].map((one) =>
    one.textContent.trim(),
  );
async function enter(more: KeyboardEventInit = {}) {
  field().dispatchEvent(
    new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true, ...more }),
  );
  await settle();
}

describe("chat", () => {
  it("opens by key with the field ready, and gives the focus back", async () => {
    await show("call-4");
    get("chat-button").focus();
    await press("c");
    expect(document.activeElement).toBe(field());
    expect(find("chat-empty")?.textContent).toContain(words.chat.empty);
    expect(get("chat-button").getAttribute("aria-expanded")).toBe("true");
    await press("c", field());
    expect(find("chat-panel")).not.toBeNull();
    await press("Escape", field());
    expect(find("chat-panel")).toBeNull();
    expect(document.activeElement).toBe(get("chat-button"));
  });

  it("sends with Enter, not with Shift and not while composing", async () => {
    await show("call-4");
    await click("chat-button");
    expect((get("chat-send") as HTMLButtonElement).disabled).toBe(true);
    await type("chat-input", "  Hello\nyou ");
    await enter({ shiftKey: true });
    await enter({ isComposing: true });
    expect(sent("send_chat")).toEqual([]);
    await enter();
    expect(sent("send_chat")).toEqual([{ type: "send_chat", text: "Hello\nyou" }]);
    expect(field().value).toBe("");
    expect(texts()).toEqual(["Hello\nyou"]);
    expect(get("chat-delivery").textContent).toContain(words.chat.delivery.sending);
    await settle(800);
    expect(get("chat-delivery").textContent).toContain(words.chat.delivery.delivered);
    await enter();
    expect(sent("send_chat")).toHaveLength(1);
  });

  it("counts near the limit and refuses beyond it", async () => {
    await show("call-4");
    await click("chat-button");
    await type("chat-input", "x".repeat(MOST_CHARS - 3));
    expect(get("chat-left").textContent).toContain(words.chat.left(3));
    await type("chat-input", "x".repeat(MOST_CHARS + 1));
    expect(get("chat-left").textContent).toContain(words.chat.tooLong(1));
    await enter();
    expect(sent("send_chat")).toEqual([]);
    expect(field().value).toHaveLength(MOST_CHARS + 1);
  });

  it("keeps what is being written while the panel is closed", async () => {
    await show("call-4");
    await click("chat-button");
    await type("chat-input", "half a");
    await click("close-chat");
    await click("chat-button");
    expect(field().value).toBe("half a");
  });

  it("groups by author and shows text as text, links as links", async () => {
    await show("call-4");
    await click("chat-button");
    backend.say(
      fakeMessage("<b>bold</b> <script>alert(1)</script>"),
      fakeMessage("see https://example.org/x, javascript:alert(1)"),
    );
    await settle();
    expect(document.querySelectorAll('[data-testid="chat-group"]')).toHaveLength(1);
    expect(texts()[0]).toBe("<b>bold</b> <script>alert(1)</script>");
    expect(get("chat-panel").querySelector("b, script, a")).toBeNull();
    const links = get("chat-panel").querySelectorAll('[data-testid="chat-link"]');
    expect([...links].map((one) => one.textContent)).toEqual(["https://example.org/x"]);
    await click("chat-link");
    expect(sent("open_link")).toEqual([{ type: "open_link", url: "https://example.org/x" }]);
  });

  it("counts and announces what comes in while it is closed", async () => {
    await show("call-4");
    backend.say(fakeMessage("one"), fakeMessage("two"));
    await settle();
    expect(get("chat-button").dataset.unread).toBe("2");
    expect(get("chat-button").getAttribute("aria-label")).toContain(words.chat.unread(2));
    expect(get("announcer").textContent).toContain("Ada: one. Ada: two");
    await click("chat-button");
    expect(get("chat-button").dataset.unread).toBe("0");
    backend.say(fakeMessage("three"));
    await settle();
    expect(get("announcer").textContent).toContain("Ada: three");
    expect(get("chat-button").dataset.unread).toBe("0");
  });

  it("follows the newest unless one scrolled up", async () => {
    let top = 0;
    vi.spyOn(HTMLElement.prototype, "scrollHeight", "get").mockReturnValue(2000);
    vi.spyOn(HTMLElement.prototype, "scrollTop", "get").mockImplementation(() => top);
    vi.spyOn(HTMLElement.prototype, "scrollTop", "set").mockImplementation((value) => {
      top = Math.min(value, 1300); // 700 px of 2000 are on screen
    });
    await show("chat-long");
    await click("chat-button");
    expect(top).toBe(1300);
    top = 200;
    get("chat-messages").dispatchEvent(new Event("scroll"));
    backend.say(fakeMessage("new"));
    await settle();
    expect(top).toBe(200);
    await click("chat-newest");
    expect(top).toBe(1300);
    expect(find("chat-newest")).toBeNull();
    top = 200;
    get("chat-messages").dispatchEvent(new Event("scroll"));
    await type("chat-input", "mine");
    await enter();
    expect(top).toBe(1300);
  });
});

describe("files", () => {
  it("are offered to the only one there at once, by drop and by button", async () => {
    await show("call-2");
    backend.send({ type: "dragging", over: true });
    await settle();
    expect(get("drop-overlay").textContent).toContain("Ada");
    backend.send({ type: "dropped", paths: ["/a/Plan.pdf"] });
    await settle();
    expect(find("drop-overlay")).toBeNull();
    expect(sent("offer_files")).toEqual([{ type: "offer_files", to: 2, paths: ["/a/Plan.pdf"] }]);
    expect(get("transfer").dataset.state).toBe("offered");
    await click("attach");
    expect(sent("pick_files")).toEqual([{ type: "pick_files", to: 2 }]);
  });

  it("ask among several who gets them", async () => {
    await show("dropped");
    expect(get("drop-dialog").textContent).toContain("Garden, seen from the street.jpg and 1 more");
    expect(sent("offer_files")).toEqual([]);
    await click("recipient-3");
    expect(sent("offer_files")).toMatchObject([{ to: 3 }]);
    expect(find("drop-dialog")).toBeNull();
    await click("attach");
    await click("recipient-all");
    expect(sent("pick_files")).toEqual([{ type: "pick_files", to: null }]);
    expect(find("attach-to")).toBeNull();
  });

  it("are pasted like dropped, and their names are not typed", async () => {
    await show("call-2");
    await click("chat-button");
    const paste = (types: string[]) => {
      const event = new Event("paste", { bubbles: true, cancelable: true });
      Object.assign(event, { clipboardData: { types } });
      field().dispatchEvent(event);
      return event.defaultPrevented;
    };
    expect(paste(["text/plain"])).toBe(false);
    expect(sent("paste_files")).toEqual([]);
    expect(paste(["text/plain", "Files"])).toBe(true);
    await settle();
    expect(sent("paste_files")).toHaveLength(1);
    expect(sent("offer_files")).toMatchObject([{ to: 2 }]);
  });

  it("dropped by mistake go nowhere", async () => {
    await show("dropped");
    get("drop-dialog").dispatchEvent(new Event("cancel", { cancelable: true }));
    await settle();
    expect(find("drop-dialog")).toBeNull();
    expect(sent("offer_files")).toEqual([]);
  });

  it("cannot be dropped where nobody is", async () => {
    await show("drop-nobody");
    expect(get("drop-overlay").dataset.kind).toBe("nobody");
    backend.send({ type: "dropped", paths: ["/a"] });
    await settle();
    expect(sent("offer_files")).toEqual([]);
  });

  it("close the list of receivers before the panel with Escape", async () => {
    await show("call-4");
    await click("chat-button");
    await click("attach");
    get("recipient-all").focus();
    await press("Escape", get("recipient-all"));
    expect(find("attach-to")).toBeNull();
    expect(document.activeElement).toBe(get("attach"));
    await press("Escape", get("attach"));
    expect(find("chat-panel")).toBeNull();
  });

  it("ask one offer after the other; no key answers by accident", async () => {
    await show("offers");
    await settle();
    expect(get("offer-name").textContent).toBe("Photos of the site");
    expect(get("offer-content").textContent).toContain("214 files");
    expect(get("offer-queue").textContent).toContain(words.files.queue(1));
    expect(document.activeElement?.tagName).toBe("H2");
    await click("offer-accept");
    const [first] = sent("accept_files");
    expect(first).toMatchObject({ member: 2, folder: null });
    expect(get("offer-name").textContent).toBe("Contract (signed).pdf");
    // The second press of a double click does not answer the second question.
    get("offer-accept").dispatchEvent(new MouseEvent("click", { bubbles: true, detail: 2 }));
    await settle();
    expect(sent("accept_files")).toHaveLength(1);
    await click("offer-accept_to");
    expect(sent("pick_folder")).toHaveLength(1);
    expect(find("offer")).toBeNull();
  });

  it("can be decided on later, in the list", async () => {
    await show("offers");
    get("offer").dispatchEvent(new Event("cancel", { cancelable: true }));
    await settle();
    await click("offer-later");
    expect(find("offer")).toBeNull();
    await click("chat-button");
    expect(document.querySelectorAll('[data-testid="transfer"]')).toHaveLength(2);
    await click("transfer-decline");
    expect(sent("decline_files")).toMatchObject([{ member: 3 }]);
    expect(get("transfer").dataset.state).toBe("declined");
    await click("transfer-dismiss");
    expect(document.querySelectorAll('[data-testid="transfer"]')).toHaveLength(1);
  });

  it("show how far they are, pause, go on, and show where they lie", async () => {
    await show("call-2");
    backend.setTransfers([fakeTransfer({ size_bytes: 1000, done_bytes: 250 })]);
    await settle();
    expect(get("chat-button").dataset.progress).toBe("25");
    expect(get("chat-button").getAttribute("aria-label")).toContain(words.files.progress(25));
    await click("chat-button");
    expect(get("chat-button").dataset.progress).toBeUndefined();
    const bar = get("transfer").querySelector('[role="progressbar"]');
    expect(bar?.getAttribute("aria-valuenow")).toBe("25");
    await click("transfer-pause");
    expect(get("transfer-state").textContent).toContain(words.files.states.pausedByMe);
    await click("transfer-resume");
    await settle(5000);
    expect(get("transfer").dataset.state).toBe("done");
    expect(get("announcer").textContent).toContain("is saved");
    await click("transfer-reveal");
    expect(sent("reveal_file")).toEqual([
      { type: "reveal_file", path: "/data/mina/Downloads/Plan of the house.pdf" },
    ]);
  });

  it("name every state", async () => {
    await show("files");
    await click("chat-button");
    const states = [...document.querySelectorAll('[data-testid="transfer-state"]')];
    expect(states).toHaveLength(9);
    for (const state of states) expect(state.textContent.trim()).not.toBe("");
    for (const button of get("transfers").querySelectorAll("button")) {
      expect(button.getAttribute("aria-label")).toContain(": ");
    }
  });
});

describe("reactions and hands", () => {
  it("float over their sender's tile for a while", async () => {
    await show("call-4");
    await click("reaction-menu");
    await click("react-🎉");
    expect(sent("send_reaction")).toEqual([{ type: "send_reaction", emoji: "🎉" }]);
    expect(get("tile-self").querySelector('[data-testid="reaction"]')?.textContent).toBe("🎉");
    backend.send({ type: "reaction", member: 3, emoji: "👏" });
    await settle(2000);
    expect(get("tile-3").querySelector('[data-testid="reaction"]')?.textContent).toBe("👏");
    expect(get("announcer").textContent).toContain("Ben Okafor: 👏");
    await settle(2000);
    expect(find("reaction")).toBeNull();
    expect(find("react-🎉")).not.toBeNull();
    await press("Escape");
    expect(find("react-🎉")).toBeNull();
  });

  it("go up by button and key and are counted", async () => {
    await show("call-4");
    await click("hand-button");
    expect(get("hand-button").getAttribute("aria-pressed")).toBe("true");
    expect(find("hand-self")).not.toBeNull();
    expect(get("announcer").textContent).toContain(words.announced.my_hand_raised("", ""));
    backend.update({
      call: callView([fakeMember(0, { hand_raised: true }), fakeMember(1)], { hand_raised: true }),
    });
    await settle();
    expect(get("hand-button").dataset.hands).toBe("2");
    expect(get("hand-button").title).toContain("2 hands raised: Ada, You");
    expect(get("tile-2").getAttribute("aria-label")).toContain(words.call.handRaised);
    await press("h");
    expect(sent("set_hand_raised").at(-1)).toEqual({ type: "set_hand_raised", raised: false });
  });
});
