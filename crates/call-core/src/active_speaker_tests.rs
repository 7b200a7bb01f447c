//! Scripted rounds of talk. A letter is 100 ms of a member's sound: `#` loud speech, `+` speech
//! 3 dB softer, `.` a pause within speech, ` ` silence.

use call_protocol::MemberId;

use super::{ActiveSpeaker, SpeakerSample};

/// A name, scripts, and who takes the floor at which time in ms.
type Case = (
    &'static str,
    &'static [&'static str],
    &'static [(u32, usize)],
);

/// Plays the scripts (members 1, 2, …) side by side; returns who had the floor after each 100 ms.
fn play(speaker: &mut ActiveSpeaker, scripts: &[&str]) -> Vec<Option<u32>> {
    let length = scripts.iter().map(|script| script.len()).max().unwrap_or(0);
    (0..length)
        .map(|at| {
            let samples: Vec<_> = scripts
                .iter()
                .zip(1..)
                .map(|(script, member)| {
                    let (level_dbov, speaking) = match script.as_bytes().get(at) {
                        Some(b'#') => (25, true),
                        Some(b'+') => (28, true),
                        Some(b'.') => (90, true),
                        _ => (110, false),
                    };
                    SpeakerSample {
                        member: MemberId(member),
                        level_dbov,
                        speaking,
                    }
                })
                .collect();
            speaker.handle_samples(&samples).map(|member| member.0)
        })
        .collect()
}

/// Who had the floor, without repetitions, with the time in ms at which they took it.
fn floor(scripts: &[&str]) -> Vec<(u32, usize)> {
    let mut turns: Vec<(u32, usize)> = Vec::new();
    for (at, who) in play(&mut ActiveSpeaker::new(), scripts).iter().enumerate() {
        if let Some(who) = who
            && turns.last().is_none_or(|(last, _)| last != who)
        {
            turns.push((*who, (at + 1) * 100));
        }
    }
    turns
}

#[test]
fn the_floor_goes_to_who_dominates_for_most_of_a_second() {
    let cases: [Case; 9] = [
        ("silence", &["          ", "          "], &[]),
        ("one voice", &["##########", "          "], &[(1, 800)]),
        ("speech with pauses", &["####.####.####", ""], &[(1, 1_100)]),
        ("a cough", &["####....      ", ""], &[]),
        ("two coughs", &["####....   ####....   ", ""], &[]),
        (
            "silence keeps the floor",
            &["##########                    ", ""],
            &[(1, 800)],
        ),
        (
            "a change of turns",
            &["##########....            ", "            ##########"],
            &[(1, 800), (2, 2_000)],
        ),
        (
            "a yes in between",
            &["##########..    ##########", "            ###....   "],
            &[(1, 800)],
        ),
        (
            "a softer voice beside it",
            &["####################", "    ++++++++++++++++"],
            &[(1, 800)],
        ),
    ];
    for (name, scripts, want) in cases {
        assert_eq!(floor(scripts), want, "{name}");
    }
}

#[test]
fn an_interruption_as_loud_as_the_speaker_does_not_win_while_they_go_on() {
    let turns = floor(&[
        "##############################",
        "          ####################",
    ]);
    assert_eq!(turns, [(1, 800)]);
}

#[test]
fn who_is_much_louder_takes_over() {
    let mut speaker = ActiveSpeaker::new();
    let sample = |member, level_dbov| SpeakerSample {
        member: MemberId(member),
        level_dbov,
        speaking: true,
    };
    for _ in 0..20 {
        speaker.handle_samples(&[sample(1, 38), sample(2, 110)]);
    }
    let mut took_ms = 0;
    while speaker.handle_samples(&[sample(1, 38), sample(2, 20)]) == Some(MemberId(1)) {
        took_ms += 100;
        assert!(took_ms < 3_000);
    }
    assert!((700..=1_400).contains(&took_ms), "{took_ms} ms");
}

#[test]
fn who_leaves_loses_the_floor() {
    let mut speaker = ActiveSpeaker::new();
    assert_eq!(play(&mut speaker, &["##########"]).last(), Some(&Some(1)));
    assert_eq!(speaker.handle_samples(&[]), None);
    assert_eq!(play(&mut speaker, &["       "]).last(), Some(&None));
}

#[test]
fn the_same_samples_give_the_same_floor_whatever_their_order() {
    let sample = |member, level_dbov| SpeakerSample {
        member: MemberId(member),
        level_dbov,
        speaking: level_dbov < 45,
    };
    let (mut one, mut other) = (ActiveSpeaker::new(), ActiveSpeaker::new());
    for at in 0..100u8 {
        let (a, b) = (sample(1, 20 + at % 40), sample(2, 60 - at % 40));
        assert_eq!(one.handle_samples(&[a, b]), other.handle_samples(&[b, a]));
    }
}
