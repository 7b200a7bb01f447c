//! The XDG desktop portal `org.freedesktop.portal.ScreenCast`: a dialog of the system in which the
//! person chooses a screen or window, and the session that lasts while it is shared.

use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;

use ashpd::desktop::screencast::{CursorMode, Screencast, SelectSourcesOptions, SourceType};
use ashpd::desktop::{PersistMode, ResponseError, Session};
use ashpd::enumflags2::BitFlags;
use ashpd::zbus::Connection;
use futures_lite::StreamExt;
use futures_lite::future::{block_on, poll_once};

use crate::video::capture::CaptureError;

/// Whether the system has such a dialog.
pub(super) fn is_there() -> bool {
    let types = block_on(async {
        let connection = Connection::session().await?;
        let portal = Screencast::with_connection(connection).await?;
        portal.available_source_types().await
    });
    types.is_ok_and(|types| !types.is_empty())
}

/// Something the person chose. Dropping it tells the system that it is not shared any more.
pub(super) struct Cast {
    session: Arc<Session<Screencast>>,
    /// Ready when the system ends the session; `None` from then on.
    closed: Option<Pin<Box<dyn Future<Output = ()>>>>,
    remote: Option<OwnedFd>,
    node: u32,
}

impl Cast {
    pub(super) fn choose() -> Result<Self, CaptureError> {
        block_on(Self::request()).map_err(|error| {
            tracing::debug!(%error, "nothing was chosen to be shared");
            match error {
                ashpd::Error::Response(ResponseError::Cancelled) => CaptureError::Denied,
                ashpd::Error::Response(ResponseError::Other) => {
                    CaptureError::Lost("the portal failed".to_owned())
                }
                _ => CaptureError::NotFound,
            }
        })
    }

    async fn request() -> ashpd::Result<Self> {
        // One of its own for each share: the system ends a session with the connection it began on.
        let connection = Connection::session().await?;
        let portal = Screencast::with_connection(connection).await?;
        let types = portal.available_source_types().await?;
        let pointer = match portal.available_cursor_modes().await {
            Ok(modes) if modes.contains(CursorMode::Embedded) => CursorMode::Embedded,
            _ => CursorMode::Hidden,
        };
        let session = Arc::new(portal.create_session(Default::default()).await?);
        let watched = Arc::clone(&session);
        let closed = async move {
            match watched.receive_closed().await {
                Ok(mut closed) => drop(closed.next().await),
                // The stream of pictures ends as well.
                Err(_) => std::future::pending().await,
            }
        };
        let wanted: BitFlags<SourceType> = SourceType::Monitor | SourceType::Window;
        let options = SelectSourcesOptions::default()
            .set_sources(wanted & types)
            .set_cursor_mode(pointer)
            .set_persist_mode(PersistMode::DoNot);
        portal
            .select_sources(&*session, options)
            .await?
            .response()?;
        let streams = portal
            .start(&*session, None, Default::default())
            .await?
            .response()?;
        let first = streams.streams().first().ok_or(ashpd::Error::NoResponse)?;
        let node = first.pipe_wire_node_id();
        let remote = portal
            .open_pipe_wire_remote(&*session, Default::default())
            .await?;
        Ok(Self {
            session,
            closed: Some(Box::pin(closed)),
            remote: Some(remote),
            node,
        })
    }

    /// The connection to PipeWire that shows what was chosen, once.
    pub(super) fn take_remote(&mut self) -> Result<OwnedFd, CaptureError> {
        self.remote.take().ok_or(CaptureError::NotFound)
    }

    /// What was chosen, on that connection.
    pub(super) fn node(&self) -> u32 {
        self.node
    }

    /// Whether the system ended it.
    pub(super) fn is_over(&mut self) -> bool {
        if let Some(closed) = &mut self.closed
            && block_on(poll_once(closed)).is_some()
        {
            self.closed = None;
        }
        self.closed.is_none()
    }
}

impl Drop for Cast {
    fn drop(&mut self) {
        if let Err(error) = block_on(self.session.close()) {
            tracing::debug!(%error, "the session of a share was gone");
        }
    }
}
