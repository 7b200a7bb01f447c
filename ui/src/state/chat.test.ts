import { describe, expect, it } from "vitest";
import { fakeMessage, ownMessage } from "../backend/fake-chat";
import { emptyChat, MOST_MESSAGES, newsOf, receive, setOpen } from "./chat";

const a = fakeMessage("a");
const b = fakeMessage("b");
const own = ownMessage("mine");
const texts = (chat: typeof emptyChat) => chat.messages.map((message) => message.text);

describe("receive", () => {
  it("keeps messages in order, whatever order they come in", () => {
    expect(texts(receive(receive(emptyChat, false, [b]), false, [own, a]))).toEqual([
      "a",
      "b",
      "mine",
    ]);
  });

  it("replaces a known message where it stands", () => {
    const chat = receive(emptyChat, false, [a, { ...own, delivery: "sending" }]);
    const later = receive(chat, false, [{ ...own, delivery: "delivered" }]);
    expect(later.messages).toHaveLength(2);
    expect(later.messages[1]?.delivery).toBe("delivered");
  });

  it("counts others' messages once as unread, also when all are told again", () => {
    let chat = receive(emptyChat, false, [a, own]);
    expect(chat.unread.size).toBe(1);
    chat = receive(chat, false, [a, b]);
    expect(chat.unread.size).toBe(2);
    chat = setOpen(chat, true);
    expect(chat.unread.size).toBe(0);
    chat = setOpen(chat, false);
    chat = receive(chat, true, [a]);
    expect(texts(chat)).toEqual(["a"]);
    chat = receive(chat, false, [b, own]);
    expect(chat.unread.size).toBe(0);
    expect(texts(chat)).toEqual(["a", "b", "mine"]);
  });

  it("has nothing unread while the panel is open", () => {
    expect(receive(setOpen(emptyChat, true), false, [a]).unread.size).toBe(0);
  });

  it("forgets the oldest", () => {
    const many = Array.from({ length: MOST_MESSAGES + 5 }, (_, at) => fakeMessage(String(at)));
    const chat = receive(emptyChat, true, many);
    expect(chat.messages).toHaveLength(MOST_MESSAGES);
    expect(chat.messages[0]?.text).toBe("5");
  });
});

it("has no news in what is known or one's own", () => {
  const chat = receive(emptyChat, false, [a]);
  expect(newsOf(chat, [a, b, own])).toEqual([b]);
});
