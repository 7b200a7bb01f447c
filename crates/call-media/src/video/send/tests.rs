use std::sync::mpsc::{Receiver, channel};

use super::*;
use crate::video::codec::new_decoder;
use crate::video::layers::RtpClock;
use crate::video::mark::read_mark;
use crate::video::synthetic::Pattern;

const DEADLINE: Duration = Duration::from_secs(20);

fn config(codec: VideoCodec) -> VideoSenderConfig {
    let encoder = EncoderConfig {
        width: 320,
        height: 320,
        fps: 60,
        bitrate_bps: 1_000_000,
        ..EncoderConfig::default()
    };
    VideoSenderConfig {
        codec,
        encoder,
        timestamp_offset: u32::MAX - 100,
    }
}

struct Feed {
    slot: LatestSlot<I420Frame>,
    pattern: Pattern,
    start: Instant,
    next: u32,
}

impl Feed {
    fn new(slot: &LatestSlot<I420Frame>) -> Self {
        let pattern = Pattern::new(640, 360, 1);
        Self {
            slot: slot.clone(),
            pattern,
            start: Instant::now(),
            next: 0,
        }
    }

    /// Puts the next picture of 50 per second and returns what it was encoded to.
    fn frame(&mut self, frames: &Receiver<EncodedFrame>) -> EncodedFrame {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let captured_at = self.start + Duration::from_millis(20) * self.next;
            self.slot
                .put(self.pattern.draw(self.next, 50, 0, captured_at));
            self.next += 1;
            // An encoder may drop a picture; then the next one is due.
            if let Ok(frame) = frames.recv_timeout(Duration::from_millis(500)) {
                return frame;
            }
            assert!(Instant::now() < deadline, "no frame comes out");
        }
    }

    /// Puts pictures until one is encoded to what is waited for.
    fn frame_until(
        &mut self,
        frames: &Receiver<EncodedFrame>,
        mut is_wanted: impl FnMut(&EncodedFrame) -> bool,
    ) -> EncodedFrame {
        // By time, not by count: how long a keyframe is held back is a time, too.
        let deadline = Instant::now() + DEADLINE;
        loop {
            let frame = self.frame(frames);
            if is_wanted(&frame) {
                return frame;
            }
            assert!(Instant::now() < deadline, "what is waited for never comes");
        }
    }
}

#[test]
fn pictures_come_out_scaled_stamped_and_decodable() {
    let slot = LatestSlot::new();
    let (sender, frames) = channel();
    let on_frame = move |frame| drop(sender.send(frame));
    let video =
        VideoSender::start(slot.clone(), config(VideoCodec::Vp8), on_frame, |_| {}).unwrap();
    let mut feed = Feed::new(&slot);
    let mut decoder = new_decoder(VideoCodec::Vp8).unwrap();
    let mut last = None::<EncodedFrame>;
    for index in 0..10 {
        let frame = feed.frame(&frames);
        assert_eq!((frame.width, frame.height), (320, 180));
        assert_eq!(frame.keyframe, index == 0);
        if let Some(last) = last {
            let ticks = frame.timestamp_90khz.wrapping_sub(last.timestamp_90khz);
            assert!(ticks >= 1800 && ticks % 1800 == 0, "{ticks}");
        } else {
            assert_eq!(frame.timestamp_90khz, u32::MAX - 100);
        }
        let picture = decoder.decode(&frame.data).unwrap().unwrap();
        assert!(read_mark(&picture).is_some());
        last = Some(frame);
    }
    drop(video);
    assert!(
        frames.recv_timeout(DEADLINE).is_err(),
        "the callback is gone with its thread"
    );
}

#[test]
fn pausing_codec_change_and_requests_give_keyframes() {
    let slot = LatestSlot::new();
    let (sender, frames) = channel();
    let on_frame = move |frame| drop(sender.send(frame));
    let video =
        VideoSender::start(slot.clone(), config(VideoCodec::Vp9), on_frame, |_| {}).unwrap();
    let mut feed = Feed::new(&slot);
    assert!(feed.frame(&frames).keyframe);
    assert!(!feed.frame(&frames).keyframe);

    // The change waits until a keyframe may follow the first one; pictures go on meanwhile.
    video.set_codec(VideoCodec::H264);
    let changed = feed.frame_until(&frames, |frame| {
        frame.keyframe || frame.codec == VideoCodec::H264
    });
    assert!(changed.keyframe && changed.codec == VideoCodec::H264);

    video.set_paused(true);
    slot.put(I420Frame::black(64, 64, Instant::now()));
    assert!(frames.recv_timeout(Duration::from_millis(300)).is_err());
    video.set_paused(false);
    feed.frame_until(&frames, |frame| frame.keyframe);
}

#[test]
fn the_pacer_keeps_the_rate() {
    let start = Instant::now();
    let count = |source_fps: u64, fps: u32| {
        let mut pacer = FramePacer::default();
        // One second, with 3 ms of jitter on every other picture.
        (0..source_fps)
            .filter(|n| {
                let at = Duration::from_micros(n * 1_000_000 / source_fps + n % 2 * 3000);
                pacer.is_due(start + at, fps)
            })
            .count()
    };
    let cases = [
        (30, 30, 30),
        (30, 15, 15),
        (60, 20, 20),
        (30, 60, 30),
        (25, 10, 10),
    ];
    for (source_fps, fps, want) in cases {
        let got = count(source_fps, fps);
        assert!(got.abs_diff(want) <= 1, "{source_fps} at {fps}: {got}");
    }
}

#[test]
fn timestamps_increase_even_for_equal_capture_times() {
    let start = Instant::now();
    let mut clock = RtpClock::new(u32::MAX);
    assert_eq!(clock.timestamp(start), u32::MAX);
    assert_eq!(clock.timestamp(start), 0);
    assert_eq!(clock.timestamp(start + Duration::from_secs(1)), 89_999);
}

#[test]
fn the_self_view_is_small() {
    let (sender, previews) = channel();
    let view = SelfView::new(move |frame| drop(sender.send(frame))).unwrap();
    view.put(Pattern::new(1280, 720, 1).draw(5, 30, 7, Instant::now()));
    let preview = previews.recv_timeout(DEADLINE).unwrap();
    assert_eq!((preview.width(), preview.height()), (320, 180));
    assert_eq!(read_mark(&preview).unwrap().frame, 5);
}
