//! From encoded frames to pictures, on a thread of its own: recordings, headless clients, and
//! tiles whose webview cannot decode.
//!
//! The queue holds [`QUEUE_FRAMES`]; when the decoder falls behind further, the newest frame is
//! refused and the caller continues with a keyframe. After a frame that cannot be decoded, all are
//! dropped up to the next keyframe.
//!
//! Deliberately not here: playout timing; pictures leave as soon as they are decoded.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use call_protocol::VideoCodec;

use super::codec::{CodecError, VideoDecoder, new_decoder};
use super::rtp::AssembledFrame;
use crate::frame::I420Frame;

/// Frames waiting to be decoded: half a second at 30 per second.
pub const QUEUE_FRAMES: usize = 15;

/// A decoded picture of a stream.
#[derive(Clone, Debug)]
pub struct DecodedFrame {
    /// The picture; `captured_at` is when it was decoded.
    pub frame: I420Frame,
    /// RTP timestamp, 90 kHz.
    pub timestamp: u32,
}

/// What a decoder thread reports.
#[derive(Debug)]
pub enum DecoderEvent {
    /// A picture.
    Decoded(DecodedFrame),
    /// A frame was not decodable; frames are dropped up to the next keyframe, so ask for one.
    NeedsKeyframe(CodecError),
}

/// A decoder thread for one stream. Dropping it stops it after the frame in work.
pub struct DecoderThread {
    frames: SyncSender<AssembledFrame>,
    awaits_keyframe: bool,
}

impl DecoderThread {
    /// Starts the thread; `on_event` runs on it. The codec is that of each frame; a change starts
    /// a new decoder.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(on_event: impl FnMut(DecoderEvent) + Send + 'static) -> std::io::Result<Self> {
        let (frames, incoming) = sync_channel(QUEUE_FRAMES);
        std::thread::Builder::new()
            .name("video-decode".to_owned())
            .spawn(move || run(&incoming, on_event))?;
        Ok(Self {
            frames,
            awaits_keyframe: true,
        })
    }

    /// Queues a frame; never waits. `false` when it was dropped and a keyframe is needed.
    pub fn put(&mut self, frame: AssembledFrame) -> bool {
        if self.awaits_keyframe && !frame.keyframe {
            return false;
        }
        let is_queued = match self.frames.try_send(frame) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        };
        self.awaits_keyframe = !is_queued;
        is_queued
    }
}

fn run(frames: &Receiver<AssembledFrame>, mut on_event: impl FnMut(DecoderEvent)) {
    let mut decoder: Option<(VideoCodec, Box<dyn VideoDecoder>)> = None;
    let mut awaits_keyframe = true;
    while let Ok(frame) = frames.recv() {
        awaits_keyframe |= frame.discontinuity;
        if awaits_keyframe && !frame.keyframe {
            continue;
        }
        match decode(&mut decoder, &frame) {
            Ok(picture) => {
                awaits_keyframe = false;
                if let Some(picture) = picture {
                    let timestamp = frame.timestamp;
                    on_event(DecoderEvent::Decoded(DecodedFrame {
                        frame: picture,
                        timestamp,
                    }));
                }
            }
            Err(error) => {
                awaits_keyframe = true;
                decoder = None;
                on_event(DecoderEvent::NeedsKeyframe(error));
            }
        }
    }
}

fn decode(
    slot: &mut Option<(VideoCodec, Box<dyn VideoDecoder>)>,
    frame: &AssembledFrame,
) -> Result<Option<I420Frame>, CodecError> {
    let decoder = match slot {
        Some((codec, decoder)) if *codec == frame.codec => decoder,
        _ => &mut slot.insert((frame.codec, new_decoder(frame.codec)?)).1,
    };
    decoder.decode(&frame.data)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::video::codec::{EncoderConfig, new_encoder};
    use crate::video::mark::read_mark;
    use crate::video::synthetic::Pattern;

    const DEADLINE: Duration = Duration::from_secs(20);

    fn encoded(codec: VideoCodec, count: u32) -> Vec<AssembledFrame> {
        let config = EncoderConfig {
            width: 320,
            height: 180,
            fps: 30,
            bitrate_bps: 900_000,
            ..EncoderConfig::default()
        };
        let mut encoder = new_encoder(codec, config).unwrap();
        let pattern = Pattern::new(320, 180, 1);
        let start = Instant::now();
        let encode = |number: u32| {
            let captured_at = start + Duration::from_millis(33) * number;
            let picture = pattern.draw(number, 30, 0, captured_at);
            let frame = encoder.encode(&picture, number == 0).unwrap()?;
            Some(AssembledFrame {
                codec,
                keyframe: frame.keyframe,
                width: 320,
                height: 180,
                timestamp: number,
                data: frame.data,
                discontinuity: false,
            })
        };
        (0..count).filter_map(encode).collect()
    }

    #[test]
    fn broken_frames_ask_for_a_keyframe_and_codecs_change() {
        let (sender, events) = channel();
        let mut thread = DecoderThread::start(move |event| drop(sender.send(event))).unwrap();
        let vp8 = encoded(VideoCodec::Vp8, 2);
        let h264 = encoded(VideoCodec::H264, 2);
        let next = || events.recv_timeout(DEADLINE).unwrap();
        assert!(
            !thread.put(vp8[1].clone()),
            "decoding starts with a keyframe"
        );
        for frame in [&vp8[0], &vp8[1], &h264[0], &h264[1]] {
            assert!(thread.put(frame.clone()));
            let DecoderEvent::Decoded(picture) = next() else {
                panic!("not decoded")
            };
            assert_eq!(picture.timestamp, frame.timestamp);
            assert_eq!(read_mark(&picture.frame).unwrap().frame, frame.timestamp);
        }
        let broken = AssembledFrame {
            data: vec![0xff; 50].into(),
            ..vp8[0].clone()
        };
        assert!(thread.put(broken));
        assert!(matches!(next(), DecoderEvent::NeedsKeyframe(_)));
        assert!(thread.put(vp8[0].clone()));
        assert!(matches!(next(), DecoderEvent::Decoded(_)));
    }
}
