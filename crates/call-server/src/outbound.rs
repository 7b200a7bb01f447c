//! The queue towards one connection, bounded in messages and in bytes.
//!
//! Nothing is dropped silently: a message that does not fit ends the connection (`too_slow`), as a
//! client that missed one message has a wrong roster.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::ws::Utf8Bytes;
use call_protocol::ErrorCode;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// One thing to send.
#[derive(Debug)]
pub(crate) enum Frame {
    Text(Utf8Bytes),
    /// Always the last.
    Close(ErrorCode),
}

/// The queue was full.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

/// The actor's end.
#[derive(Debug)]
pub(crate) struct Outbound {
    frames: mpsc::Sender<Frame>,
    queued_bytes: Arc<AtomicUsize>,
    byte_limit: usize,
    abandoned: CancellationToken,
}

/// The connection's end.
#[derive(Debug)]
pub(crate) struct OutboundFrames {
    frames: mpsc::Receiver<Frame>,
    queued_bytes: Arc<AtomicUsize>,
    /// Cancelled when the queue overflowed: what it still holds is void.
    pub(crate) abandoned: CancellationToken,
}

pub(crate) fn outbound(messages: usize, byte_limit: usize) -> (Outbound, OutboundFrames) {
    // One slot more than announced, so that the closing frame fits.
    let (sender, receiver) = mpsc::channel(messages.max(1) + 1);
    let queued_bytes = Arc::new(AtomicUsize::new(0));
    let abandoned = CancellationToken::new();
    (
        Outbound {
            frames: sender,
            queued_bytes: Arc::clone(&queued_bytes),
            byte_limit,
            abandoned: abandoned.clone(),
        },
        OutboundFrames {
            frames: receiver,
            queued_bytes,
            abandoned,
        },
    )
}

impl Outbound {
    /// Queues a text. On overflow the queue is void and the connection ends.
    pub(crate) fn push(&self, text: String) -> Result<(), Overflow> {
        if self.abandoned.is_cancelled() {
            return Ok(());
        }
        let queued = self.queued_bytes.fetch_add(text.len(), Ordering::Relaxed);
        let fits = queued + text.len() <= self.byte_limit && self.frames.capacity() > 1;
        if fits {
            // Closed means that the connection is ending by itself.
            let _ = self.frames.try_send(Frame::Text(text.into()));
            return Ok(());
        }
        self.abandoned.cancel();
        Err(Overflow)
    }

    /// Queues the end of the connection.
    pub(crate) fn close(self, reason: ErrorCode) {
        if self.frames.try_send(Frame::Close(reason)).is_err() {
            self.abandoned.cancel();
        }
    }
}

impl OutboundFrames {
    /// The next frame; `None` when the actor forgot the connection.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let frame = self.frames.recv().await?;
        if let Frame::Text(text) = &frame {
            self.queued_bytes.fetch_sub(text.len(), Ordering::Relaxed);
        }
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn holds_what_fits_and_then_the_close() {
        let (outbound, mut frames) = outbound(2, 100);
        assert_eq!(outbound.push("a".into()), Ok(()));
        assert_eq!(outbound.push("b".into()), Ok(()));
        outbound.close(ErrorCode::SeatTaken);
        assert!(matches!(frames.next().await, Some(Frame::Text(text)) if text.as_str() == "a"));
        assert!(matches!(frames.next().await, Some(Frame::Text(text)) if text.as_str() == "b"));
        assert!(matches!(
            frames.next().await,
            Some(Frame::Close(ErrorCode::SeatTaken))
        ));
        assert!(frames.next().await.is_none());
        assert!(!frames.abandoned.is_cancelled());
    }

    #[tokio::test]
    async fn overflows_by_messages_or_bytes_once() {
        for (messages, bytes, text) in [(2, 1_000, "x".to_owned()), (100, 25, "y".repeat(10))] {
            let (outbound, frames) = outbound(messages, bytes);
            assert_eq!(outbound.push(text.clone()), Ok(()));
            assert_eq!(outbound.push(text.clone()), Ok(()));
            assert_eq!(outbound.push(text.clone()), Err(Overflow));
            assert!(frames.abandoned.is_cancelled());
            assert_eq!(outbound.push(text), Ok(()), "reported once");
        }
    }

    #[tokio::test]
    async fn sent_bytes_are_free_again() {
        let (outbound, mut frames) = outbound(100, 10);
        for _ in 0..50 {
            assert_eq!(outbound.push("z".repeat(10)), Ok(()));
            assert!(frames.next().await.is_some());
        }
    }
}
