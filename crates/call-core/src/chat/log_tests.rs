use call_e2ee::SeedStream;

use super::*;

fn author(byte: u8) -> AuthorId {
    AuthorId::from_bytes([byte; 8])
}

fn log() -> Log {
    Log::new(author(0xff))
}

fn entry(by: u8, number: u32, clock: u64) -> ChatEntry {
    ChatEntry {
        author: author(by),
        number,
        clock,
        name: "Anna".to_owned(),
        text: format!("{by}:{number}"),
        sent_at_ms: 0,
    }
}

fn texts(log: &Log) -> Vec<String> {
    let entries = log.keys().map(|key| log.get(key).unwrap());
    entries.map(|entry| entry.text.clone()).collect()
}

fn head(log: &Log, by: u8) -> Option<(u32, u32)> {
    log.head(&author(by)).map(|head| (head.from, head.next))
}

/// What `insert` gives: how many became known, or why not.
fn outcome(log: &mut Log, entry: ChatEntry) -> Result<usize, Verdict> {
    match log.insert(entry) {
        Verdict::Kept(keys) => Ok(keys.len()),
        other => Err(other),
    }
}

#[test]
fn the_order_is_the_same_however_entries_arrive() {
    // Three authors; clocks collide across authors and never within one.
    let all: Vec<ChatEntry> = (0..3_u8)
        .flat_map(|by| (0..40).map(move |n| entry(by, n, u64::from(n * 2 + u32::from(by) / 2))))
        .collect();
    let mut dice = SeedStream::new([7; 32]);
    let mut first = None;
    for _ in 0..20 {
        let mut left = all.clone();
        let (mut log, mut shown) = (log(), Vec::new());
        while !left.is_empty() {
            let index = u32::from_be_bytes(dice.draw()) as usize % left.len();
            let entry = left.swap_remove(index);
            for _ in 0..2 {
                if let Verdict::Kept(keys) = log.insert(entry.clone()) {
                    shown.extend(keys);
                }
            }
        }
        assert_eq!(shown.len(), all.len(), "each became known once");
        for by in 0..3 {
            let numbers = shown.iter().filter(|key| key.author == author(by));
            let numbers: Vec<u32> = numbers.map(|key| key.number).collect();
            assert!(numbers.is_sorted(), "and in its author's order");
        }
        let got = texts(&log);
        assert_eq!(got.len(), all.len());
        assert_eq!(*first.get_or_insert(got.clone()), got);
        let keys = log.keys().map(Key::to_text);
        assert!(keys.is_sorted(), "texts of keys sort like keys");
    }
}

#[test]
fn gaps_are_waited_for_and_the_first_version_stays() {
    let mut log = log();
    let steps = [
        (entry(1, 2, 3), Err(Verdict::Waiting), None),
        (entry(1, 2, 3), Err(Verdict::Known), None),
        (entry(1, 0, 1), Ok(1), Some((0, 1))),
        (entry(1, 0, 9), Err(Verdict::Known), Some((0, 1))),
        (entry(1, 1, 2), Ok(2), Some((0, 3))),
        (entry(1, 3 + WINDOW, 4), Err(Verdict::Waiting), Some((0, 3))),
        (entry(1, 4 + WINDOW, 4), Err(Verdict::Refused), Some((0, 3))),
        (entry(1, u32::MAX, 4), Err(Verdict::Refused), Some((0, 3))),
        (entry(0xff, 0, 4), Err(Verdict::Known), Some((0, 3))),
    ];
    for (step, (entry, want, head_then)) in steps.into_iter().enumerate() {
        assert_eq!(outcome(&mut log, entry), want, "step {step}");
        assert_eq!(head(&log, 1), head_then, "step {step}");
    }
    assert_eq!(texts(&log), ["1:0", "1:1", "1:2"]);
}

#[test]
fn absurd_clocks_are_refused_and_nothing_overflows() {
    // (what is known already, the clock of the next, whether it is taken)
    let cases = [
        (None, 0, true),
        (None, FIRST_LEAP, true),
        (None, FIRST_LEAP + 1, false),
        (None, u64::MAX, false),
        (Some(5), 5 + LEAP, true),
        (Some(5), 6 + LEAP, false),
        (Some(5), 0, true),
        (Some(FIRST_LEAP), FIRST_LEAP + LEAP, true),
        (Some(FIRST_LEAP), u64::MAX, false),
    ];
    for (known, clock, want) in cases {
        let mut log = log();
        if let Some(known) = known {
            assert_eq!(outcome(&mut log, entry(1, 0, known)), Ok(1));
        }
        let taken = outcome(&mut log, entry(2, 0, clock)).is_ok();
        assert_eq!(taken, want, "{clock} after {known:?}");
        log.follow(clock);
        let said = log.say("Me".into(), "hi".into(), 0);
        assert!(said.clock < u64::MAX / 2);
        assert_eq!(log.keys().last(), Some(&Key::of(&said)), "goes to the end");
    }
    let mut log = log();
    assert_eq!(
        outcome(&mut log, entry(1, 1, u64::MAX)),
        Err(Verdict::Waiting)
    );
    assert_eq!(outcome(&mut log, entry(1, 0, 1)), Ok(1), "nor by waiting");
    assert_eq!(head(&log, 1), Some((0, 1)));
}

#[test]
fn the_oldest_are_forgotten_and_do_not_come_back() {
    let mut log = log();
    let count = limits::CHAT_ENTRIES as u32;
    for n in 0..count {
        assert!(outcome(&mut log, entry((n % 2) as u8, n / 2, u64::from(n))).is_ok());
    }
    for _ in 0..10 {
        log.say("Me".into(), "hi".into(), 0);
    }
    assert_eq!(log.keys().count(), limits::CHAT_ENTRIES);
    assert_eq!(head(&log, 0), Some((5, count / 2)));
    assert_eq!(outcome(&mut log, entry(0, 4, 8)), Err(Verdict::Known));
    let missing = log.missing(&BTreeMap::new(), 3, usize::MAX);
    let missing: Vec<_> = missing.iter().map(|entry| entry.text.as_str()).collect();
    assert_eq!(missing, ["0:5", "1:5", "0:6"]);
}

#[test]
fn bytes_waiting_entries_and_authors_are_bounded() {
    let mut log = log();
    for n in 0..2_000 {
        let mut long = entry(1, n, u64::from(n));
        long.text = "\u{10ffff}".repeat(limits::CHAT_CHARS);
        assert!(outcome(&mut log, long).is_ok());
    }
    let held: usize = log.keys().map(|key| size(log.get(key).unwrap())).sum();
    assert!(held <= limits::CHAT_BYTES && held > limits::CHAT_BYTES - 20_000);
    assert_eq!(log.bytes, held);
    let waits = |log: &mut Log, by| {
        (1..100)
            .filter(|n| outcome(log, entry(by, *n, 1)) == Err(Verdict::Waiting))
            .count()
    };
    let waiting: usize = (2..9).map(|by| waits(&mut log, by)).sum();
    assert_eq!((waiting, log.waiting), (WAITING, WAITING));
    let mut log = self::log();
    let mut known = 0;
    for n in 0..1_000_u64 {
        let mut stranger = entry(0, 0, 1);
        stranger.author = AuthorId::from_bytes(n.to_be_bytes());
        known += usize::from(outcome(&mut log, stranger).is_ok());
    }
    assert_eq!(known, limits::CHAT_AUTHORS - 1, "and oneself");
    assert!(log.heads().len() < limits::CHAT_AUTHORS);
    log.say("Me".into(), "hi".into(), 0);
    assert_eq!(log.heads().len(), limits::CHAT_AUTHORS);
}

#[test]
fn an_author_whose_clock_goes_back_harms_only_itself() {
    let mut log = log();
    for (number, clock) in [(0, 100), (1, 50), (2, 200)] {
        assert_eq!(outcome(&mut log, entry(1, number, clock)), Ok(1));
    }
    assert_eq!(outcome(&mut log, entry(2, 0, 60)), Ok(1));
    assert_eq!(texts(&log), ["1:1", "2:0", "1:0", "1:2"]);
    log.forget_oldest();
    assert_eq!(texts(&log), ["2:0", "1:2"]);
    assert_eq!((head(&log, 1), head(&log, 2)), (Some((2, 3)), Some((0, 1))));
    let held: usize = log.keys().map(|key| size(log.get(key).unwrap())).sum();
    assert_eq!(log.bytes, held);
}

#[test]
fn a_newcomer_starts_with_the_last_ones() {
    let mut log = log();
    for n in 0..10 {
        assert!(outcome(&mut log, entry(1, n, u64::from(n))).is_ok());
    }
    for n in 0..3 {
        assert!(outcome(&mut log, entry(2, n, 20 + u64::from(n))).is_ok());
    }
    for (count, want) in [
        (0, [(10, 10), (3, 3)]),
        (2, [(10, 10), (1, 3)]),
        (5, [(8, 10), (0, 3)]),
        (99, [(0, 10), (0, 3)]),
    ] {
        let starts = log.starts(count);
        let got: Vec<_> = starts.iter().map(|head| (head.from, head.next)).collect();
        assert_eq!(got, want, "the last {count}");
        let next = starts.into_iter().map(|head| (head.author, head.from));
        let missing = log.missing(&next.collect(), 100, usize::MAX);
        let got: Vec<_> = missing.into_iter().map(|entry| entry.text).collect();
        let all = texts(&log);
        assert_eq!(got, all[all.len() - count.min(all.len())..]);
    }
    let two = 2 * size(log.get(log.keys().next().unwrap()).unwrap());
    for (bytes, want) in [(0, 1), (two, 2), (two + 1, 2)] {
        assert_eq!(
            log.missing(&BTreeMap::new(), 9, bytes).len(),
            want,
            "{bytes}"
        );
    }
}

#[test]
fn what_nobody_has_is_skipped() {
    let mut log = log();
    assert_eq!(outcome(&mut log, entry(1, 0, 1)), Ok(1));
    assert_eq!(outcome(&mut log, entry(1, 3, 4)), Err(Verdict::Waiting));
    assert_eq!(outcome(&mut log, entry(1, 5, 6)), Err(Verdict::Waiting));
    assert_eq!(outcome(&mut log, entry(1, 6, 7)), Err(Verdict::Waiting));
    assert!(
        log.skip_to(&author(1), 1).is_empty(),
        "nothing is missing below"
    );
    let known = log.skip_to(&author(1), 5);
    assert_eq!(
        known.iter().map(|key| key.number).collect::<Vec<_>>(),
        [3, 5, 6]
    );
    assert_eq!(head(&log, 1), Some((5, 7)));
    assert_eq!(texts(&log), ["1:0", "1:3", "1:5", "1:6"]);
    assert_eq!(log.waiting, 0);
    assert!(log.skip_to(&author(0xff), 9).is_empty(), "never of oneself");
    assert_eq!(log.next(&author(0xff)), 0);
    assert!(log.skip_to(&author(2), u32::MAX).is_empty());
    assert_eq!(
        outcome(&mut log, entry(2, u32::MAX, 4)),
        Err(Verdict::Refused)
    );
}

#[test]
fn names_and_texts_are_cleaned_and_numbers_go_on() {
    let mut log = log();
    for (number, text, want) in [
        (0, "a\r\nb\u{202e}", "a\nb"),
        (1, "\u{0}\u{202e}", NOTHING_LEFT),
        (2, NOTHING_LEFT, NOTHING_LEFT),
    ] {
        let mut dirty = entry(1, number, u64::from(number));
        dirty.text = text.to_owned();
        dirty.name = "\u{202e}Eve\n".to_owned();
        assert_eq!(outcome(&mut log, dirty), Ok(1));
        let kept = log.get(log.keys().last().unwrap()).unwrap();
        assert_eq!((kept.name.as_str(), kept.text.as_str()), ("Eve", want));
    }
}
