use call_protocol::channel::chat::{ChatHead, HeadsPurpose};

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const LATENCY: Duration = Duration::from_millis(20);

/// Members who all reach each other, in virtual time. Member `n` is client `n - 1`.
struct Net {
    now: Instant,
    chats: Vec<Chat>,
    queue: VecDeque<(Instant, usize, MemberId, ChatSignal)>,
    /// Messages between these are lost, in this direction.
    cut: BTreeSet<(usize, usize)>,
    sent: usize,
}

fn id(client: usize) -> MemberId {
    MemberId(client as u32 + 1)
}

impl Net {
    fn new(count: usize) -> Self {
        let mut net = Self {
            now: Instant::now(),
            chats: Vec::new(),
            queue: VecDeque::new(),
            cut: BTreeSet::new(),
            sent: 0,
        };
        (0..count).for_each(|_| net.join());
        net.run(4 * SECOND);
        net
    }

    fn join(&mut self) {
        let client = self.chats.len();
        let mut chat = Chat::new(AuthorId::from_bytes([client as u8; 8]));
        chat.take_seat(self.now, id(client), client > 0);
        self.chats.push(chat);
        for other in 0..client {
            for (one, other) in [(client, other), (other, client)] {
                self.chats[one].add_member(id(other));
                self.chats[one].handle_path(self.now, id(other));
            }
        }
    }

    fn leave(&mut self, client: usize) {
        self.chats[client].end();
        let others = self.chats.iter_mut();
        others.for_each(|chat| chat.remove_member(id(client)));
    }

    fn say(&mut self, client: usize, text: &str) {
        let said = self.chats[client].say(self.now, "Anna".to_owned(), text, 1);
        assert_eq!(said, Ok(()));
        self.care();
    }

    fn care(&mut self) {
        for client in 0..self.chats.len() {
            self.chats[client].care(self.now, true);
            while let Some((to, signal)) = self.chats[client].poll_message() {
                assert!(signal.is_within_limits());
                let all = (0..self.chats.len()).filter(|other| *other != client);
                for other in all.filter(|other| to.is_none_or(|to| to == id(*other))) {
                    self.sent += 1;
                    if !self.cut.contains(&(client, other)) {
                        let message = (self.now + LATENCY, other, id(client), signal.clone());
                        self.queue.push_back(message);
                    }
                }
            }
            let due = self.chats[client].timeout();
            assert!(due.is_none_or(|at| at > self.now), "client {client} spins");
        }
    }

    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.care();
        loop {
            let timers = self.chats.iter().filter_map(Chat::timeout);
            let next = timers.chain(self.queue.front().map(|it| it.0)).min();
            let Some(at) = next.filter(|at| *at <= end) else {
                break;
            };
            self.now = at;
            while let Some((_, to, from, signal)) = self.queue.pop_front_if(|it| it.0 <= at) {
                self.chats[to].handle_signal(at, from, signal);
            }
            self.care();
        }
        self.now = end;
    }

    fn texts(&self, client: usize) -> Vec<String> {
        let log = &self.chats[client].log;
        let texts = log.keys().map(|key| log.get(key).unwrap().text.clone());
        texts.collect()
    }

    fn delivery(&self, client: usize) -> Vec<ChatDelivery> {
        let chat = &self.chats[client];
        let keys = chat.log.keys_of(chat.log.own(), 0);
        keys.map(|key| chat.view(&key).unwrap().delivery).collect()
    }

    /// A member says something to client 0.
    fn hear(&mut self, from: MemberId, signal: ChatSignal) {
        self.chats[0].handle_signal(self.now, from, signal);
        self.care();
    }
}

fn stranger(byte: u8) -> AuthorId {
    AuthorId::from_bytes([0xe0, byte, 0, 0, 0, 0, 0, 0])
}

fn forged(author: AuthorId, number: u32, clock: u64) -> ChatEntry {
    ChatEntry {
        author,
        number,
        clock,
        name: "Eve".to_owned(),
        text: "x".to_owned(),
        sent_at_ms: u64::MAX,
    }
}

fn entries(entries: Vec<ChatEntry>) -> ChatSignal {
    let sender = AuthorId::from_bytes([1; 8]);
    ChatSignal::Entries { sender, entries }
}

#[test]
fn what_is_said_is_there_at_once_and_delivered_when_all_confirmed() {
    use ChatDelivery::{Delivered, Partly, Sending};
    let mut net = Net::new(3);
    net.cut.insert((0, 2));
    net.say(0, "hi");
    assert_eq!(net.delivery(0), [Sending]);
    net.run(LATENCY);
    assert_eq!(net.texts(1), ["hi"]);
    net.run(SECOND / 2);
    assert_eq!(net.delivery(0), [Partly]);
    net.cut.clear();
    net.run(2 * SECOND);
    assert_eq!(
        (net.delivery(0), net.texts(2)),
        (vec![Delivered], net.texts(1))
    );
    net.join();
    net.run(SECOND / 2);
    assert_eq!(net.delivery(0), [Delivered], "whoever comes later");
    let mut alone = Net::new(1);
    alone.say(0, "anybody?");
    assert_eq!(alone.delivery(0), [Delivered]);
}

#[test]
fn the_author_repeats_what_is_not_confirmed_less_and_less_often() {
    let mut net = Net::new(2);
    net.cut.extend([(0, 1), (1, 0)]);
    net.say(0, "hi");
    let mut last = 0;
    let mut repeats = Vec::new();
    for second in 1..=60 {
        net.run(SECOND);
        let count = net.chats[0].peers[&id(1)].push_wait;
        if count.as_secs() != last {
            last = count.as_secs();
            repeats.push(second);
        }
    }
    assert_eq!((repeats, last), (vec![1, 2, 4, 8], 15));
    net.cut.clear();
    net.run(15 * SECOND);
    assert_eq!(net.texts(1), ["hi"]);
}

#[test]
fn others_hand_on_what_somebody_missed_whose_author_left() {
    let mut net = Net::new(3);
    net.cut.insert((0, 2));
    net.say(0, "one");
    net.say(0, "two");
    net.run(LATENCY);
    net.leave(0);
    net.run(12 * SECOND);
    assert_eq!(net.texts(2), ["one", "two"]);
}

#[test]
fn a_newcomer_gets_the_last_ones_and_speaks_after_them() {
    let mut net = Net::new(2);
    for n in 0..250 {
        net.say(n % 2, &format!("{n}"));
        net.run(SECOND / 5);
    }
    net.join();
    net.say(2, "first");
    assert!(net.texts(2).is_empty(), "waits for the history");
    net.run(2 * SECOND);
    let all = net.texts(0);
    assert_eq!((all.len(), all[250].as_str()), (251, "first"));
    assert_eq!(net.texts(2), all[50..]);
    let sent = net.sent;
    net.run(20 * SECOND);
    assert!(net.sent - sent < 50, "quiet: {}", net.sent - sent);
    assert_eq!(net.texts(2), all[50..], "not more later");
}

#[test]
fn a_newcomer_whom_nobody_answers_goes_on_without_the_history() {
    let mut net = Net::new(2);
    net.say(0, "old");
    net.join();
    net.cut.extend([(0, 2), (1, 2)]);
    net.run(SECOND);
    net.say(2, "new");
    assert!(net.texts(2).is_empty());
    net.run(10 * SECOND);
    assert_eq!(net.texts(2), ["new"]);
    net.cut.clear();
    net.run(30 * SECOND);
    for client in 0..3 {
        assert_eq!(net.texts(client).len(), 2);
        assert_eq!(net.texts(client), net.texts(0));
    }
}

#[test]
fn what_nobody_has_any_more_is_given_up() {
    let mut net = Net::new(2);
    let author = stranger(1);
    let newest: Vec<_> = (10..14).map(|n| forged(author.clone(), n, 5)).collect();
    net.chats[1].log.skip_to(&author, 10);
    for entry in newest {
        net.chats[1].log.insert(entry);
    }
    net.run(40 * SECOND);
    assert_eq!(net.texts(0).len(), 4);
    assert_eq!(
        net.chats[0].log.head(&author),
        net.chats[1].log.head(&author)
    );
}

#[test]
fn changes_are_shown_once_and_all_of_it_on_demand() {
    let mut net = Net::new(2);
    let views = |net: &mut Net, client: usize| -> Vec<(bool, usize)> {
        let events = net.chats[client].poll_views().into_iter();
        let sizes = events.map(|event| match event {
            UiEvent::Chat { reset, messages } => (reset, messages.len()),
            other => panic!("{other:?}"),
        });
        sizes.collect()
    };
    assert_eq!(views(&mut net, 0), []);
    for n in 0..250 {
        net.say(0, &format!("{n}"));
    }
    assert_eq!(
        views(&mut net, 0),
        [(false, 100), (false, 100), (false, 50)]
    );
    assert_eq!(views(&mut net, 0), []);
    net.run(2 * SECOND);
    assert_eq!(views(&mut net, 0).iter().map(|it| it.1).sum::<usize>(), 250);
    net.say(1, "answer");
    net.run(SECOND);
    assert_eq!(views(&mut net, 0), [(false, 1)]);
    net.chats[0].show_anew();
    assert_eq!(views(&mut net, 0), [(true, 100), (false, 100), (false, 51)]);
    let mut empty = Net::new(1);
    empty.chats[0].show_anew();
    assert_eq!(views(&mut empty, 0), [(true, 0)]);
    let news = net.chats[1].poll_news();
    assert_eq!((news.len(), net.chats[1].poll_news().len()), (251, 0));
    assert_eq!((news[0].0, news[250].0), (Some(id(0)), Some(id(1))));
}

#[test]
fn nothing_can_be_said_without_words_or_a_seat_and_little_before_the_history() {
    let now = Instant::now();
    let mut chat = Chat::new(stranger(0));
    let say = |chat: &mut Chat, text: &str| chat.say(now, "Anna".to_owned(), text, 0);
    assert_eq!(say(&mut chat, "hi"), Err(SayError::NotJoined));
    chat.take_seat(now, id(0), true);
    for (text, want) in [
        ("", Err(SayError::Text)),
        (" \n\u{202e}", Err(SayError::Text)),
        (&"x".repeat(limits::CHAT_CHARS + 1), Err(SayError::Text)),
        (&format!(" {} ", "x".repeat(limits::CHAT_CHARS)), Ok(())),
    ] {
        assert_eq!(say(&mut chat, text), want);
    }
    let said = (1..100).filter(|_| say(&mut chat, "hi") == Ok(())).count();
    assert_eq!(said, UNSAID - 1);
}

#[test]
fn a_hostile_member_stores_asks_and_takes_only_so_much() {
    let mut net = Net::new(3);
    net.say(0, "mine");
    net.run(SECOND);
    // Claims to have everything there could be.
    let claim = |author| ChatHead {
        author,
        from: u32::MAX,
        next: u32::MAX,
    };
    let heads: Vec<_> = (0..200).map(|n| claim(stranger(n))).collect();
    let own = net.chats[0].log.own().clone();
    let sender = own.clone();
    let purpose = HeadsPurpose::State;
    let lists = [
        heads,
        vec![claim(own.clone())],
        vec![claim(stranger(0)); 512],
    ];
    for heads in lists {
        let sender = sender.clone();
        net.hear(
            id(1),
            ChatSignal::Heads {
                sender,
                purpose,
                heads,
            },
        );
    }
    assert_eq!(net.chats[0].writer(&own), Some(id(0)), "nobody else is me");
    net.cut.insert((1, 0));
    let sent = net.sent;
    net.run(600 * SECOND);
    let asked = net.sent - sent;
    assert!(asked < 600, "{asked} messages in ten minutes");
    // Floods with entries of new authors and of one.
    let known = net.chats[0].log.keys().count();
    let mut introduced = 0;
    for n in 0..400_u32 {
        let author = AuthorId::from_bytes(u64::from(n + 1_000).to_be_bytes());
        net.hear(id(1), entries(vec![forged(author.clone(), 0, 1)]));
        introduced += usize::from(net.chats[0].log.knows(&author));
    }
    assert_eq!(introduced, 64);
    for n in 1..1_000_u32 {
        let author = AuthorId::from_bytes(1_000_u64.to_be_bytes());
        net.hear(id(1), entries(vec![forged(author, n, 1)]));
    }
    assert_eq!(net.chats[0].log.keys().count() - known, 500);
    assert!(net.chats[0].log.clock() < 100);
    // Asks for everything again and again.
    net.chats[0].outbox.clear();
    let mut bytes = 0;
    for _ in 0..1_000 {
        let (sender, purpose) = (stranger(9), HeadsPurpose::Missing);
        let heads = Vec::new();
        let signal = ChatSignal::Heads {
            sender,
            purpose,
            heads,
        };
        net.chats[0].handle_signal(net.now, id(1), signal);
        while let Some((_, signal)) = net.chats[0].poll_message() {
            bytes += serde_json::to_vec(&signal).unwrap().len();
        }
    }
    assert!(bytes < 5_000_000, "{bytes} bytes");
    // Those who behave are served as before.
    net.say(2, "still there?");
    net.run(SECOND);
    assert!(net.texts(0).contains(&"still there?".to_owned()));
}

#[test]
fn who_wrote_something_follows_the_seat() {
    let mut net = Net::new(2);
    net.say(1, "hi");
    net.run(SECOND);
    let from = |net: &mut Net| {
        net.chats[0].show_anew();
        let events = net.chats[0].poll_views();
        let [UiEvent::Chat { messages, .. }] = &events[..] else {
            panic!("{events:?}");
        };
        messages[0].from
    };
    assert_eq!(from(&mut net), Some(id(1)));
    net.chats[0].remove_member(id(1));
    assert_eq!(from(&mut net), None);
    net.chats[0].add_member(id(7));
    let (sender, purpose) = (net.chats[1].log.own().clone(), HeadsPurpose::State);
    let heads = Vec::new();
    net.chats[0].handle_signal(
        net.now,
        id(7),
        ChatSignal::Heads {
            sender,
            purpose,
            heads,
        },
    );
    assert_eq!(from(&mut net), Some(id(7)));
}
