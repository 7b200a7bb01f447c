//! Pixels from the X server: through shared memory, or through the connection where the server has no
//! part in this machine's.
//!
//! The only `unsafe` code of screens. Invariants: the mapping is as long as the segment and lives as
//! long as the file behind it; the server writes into it only between a request and its reply, and
//! nobody holds a reference to it then (`&mut self`).
#![allow(unsafe_code)]

use memmap2::{MmapMut, MmapOptions};
use x11rb::connection::Connection;
use x11rb::protocol::shm::{self, ConnectionExt as _};
use x11rb::protocol::xproto::{ConnectionExt as _, Drawable, ImageFormat};
use x11rb::rust_connection::RustConnection;

use crate::screen::canvas::{Area, PIXEL};
use crate::video::capture::CaptureError;

/// All planes of a pixel.
const ALL_PLANES: u32 = !0;

/// See the module's text.
pub(super) struct Fetcher {
    /// Whether the server can make segments.
    has_segments: bool,
    segment: Option<Segment>,
    plain: Vec<u8>,
}

struct Segment {
    id: shm::Seg,
    memory: MmapMut,
}

impl Segment {
    fn new(connection: &RustConnection, bytes: usize) -> Result<Self, CaptureError> {
        let too_large = |_| CaptureError::Lost("a picture of gigabytes".to_owned());
        let size = u32::try_from(bytes).map_err(too_large)?;
        let id = connection.generate_id()?;
        let reply = connection.shm_create_segment(id, size, false)?.reply()?;
        // SAFETY: nobody but the server knows the file; see the module's invariants.
        let memory = unsafe { MmapOptions::new().len(bytes).map_mut(&reply.shm_fd) };
        let memory = memory.map_err(|error| CaptureError::Lost(error.to_string()))?;
        Ok(Self { id, memory })
    }
}

impl Fetcher {
    pub(super) fn new(connection: &RustConnection) -> Self {
        let version = connection.shm_query_version();
        let version = version.ok().and_then(|cookie| cookie.reply().ok());
        let has_segments = version.is_some_and(|it| (it.major_version, it.minor_version) >= (1, 2));
        Self {
            has_segments,
            segment: None,
            plain: Vec::new(),
        }
    }

    /// The pixels of an area, whose place is counted from `corner` of the drawable; row by row.
    pub(super) fn fetch(
        &mut self,
        connection: &RustConnection,
        drawable: Drawable,
        corner: (i16, i16),
        area: Area,
    ) -> Result<&[u8], CaptureError> {
        let coordinate = |base: i16, offset: u32| {
            let offset = i16::try_from(offset).unwrap_or(i16::MAX);
            base.saturating_add(offset)
        };
        let (x, y) = (coordinate(corner.0, area.x), coordinate(corner.1, area.y));
        let side = |side: u32| u16::try_from(side).unwrap_or(u16::MAX);
        let (width, height) = (side(area.width), side(area.height));
        let bytes = usize::from(width) * usize::from(height) * PIXEL;
        self.prepare(connection, bytes);
        let format = ImageFormat::Z_PIXMAP;
        let Some(segment) = &self.segment else {
            let image = connection.get_image(format, drawable, x, y, width, height, ALL_PLANES)?;
            self.plain = image.reply()?.data;
            return Ok(&self.plain);
        };
        let (format, id) = (u8::from(format), segment.id);
        let image =
            connection.shm_get_image(drawable, x, y, width, height, ALL_PLANES, format, id, 0)?;
        image.reply()?;
        Ok(segment.memory.get(..bytes).unwrap_or_default())
    }

    /// Has a segment that is large enough, if there can be one.
    fn prepare(&mut self, connection: &RustConnection, bytes: usize) {
        let large_enough = |segment: &Segment| segment.memory.len() >= bytes;
        if !self.has_segments || self.segment.as_ref().is_some_and(large_enough) {
            return;
        }
        if let Some(old) = self.segment.take() {
            // A connection that fails here fails at the next request as well.
            let _ = connection.shm_detach(old.id);
        }
        match Segment::new(connection, bytes) {
            Ok(segment) => self.segment = Some(segment),
            Err(error) => {
                tracing::debug!(%error, "no memory shared with the X server");
                self.has_segments = false;
            }
        }
    }
}
