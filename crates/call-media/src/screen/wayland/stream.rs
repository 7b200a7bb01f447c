//! A video stream of PipeWire: its newest picture, whenever somebody looks.
//!
//! The loop runs only while a look lasts, on the looker's thread. Between looks pictures wait in the
//! stream's buffers, a handful of them; when those are full the system keeps the next one back and
//! repeats what changed.
//!
//! Only pictures in memory are asked for, not such in a graphics card's.

use std::cell::RefCell;
use std::io::Cursor;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use pipewire::context::ContextRc;
use pipewire::core::CoreRc;
use pipewire::main_loop::MainLoopRc;
use pipewire::properties::properties;
use pipewire::spa::buffer::meta::MetaVideoCrop;
use pipewire::spa::buffer::{ChunkFlags, DataType};
use pipewire::spa::param::ParamType;
use pipewire::spa::param::format::{FormatProperties, MediaSubtype, MediaType};
use pipewire::spa::param::video::{VideoFormat, VideoInfoRaw};
use pipewire::spa::pod::serialize::PodSerializer;
use pipewire::spa::pod::{Object, Pod, Property, Value, object, property};
use pipewire::spa::sys;
use pipewire::spa::utils::{
    Choice, ChoiceEnum, ChoiceFlags, Direction, Fraction, Id, Rectangle, SpaTypes,
};
use pipewire::stream::{StreamFlags, StreamListener, StreamRc, StreamState};

use super::super::SHARE_FPS;
use super::super::canvas::{Area, Canvas, MOST_SIDE_PX, cut};
use crate::video::capture::CaptureError;

/// Rounds of the loop in one look: each handles all that is waiting, and may bring more.
const ROUNDS: u32 = 8;

/// Highest side of a stream; what of it is beyond [`MOST_SIDE_PX`] is not shown.
const MOST_PX: u32 = 16_384;

/// What the stream's callbacks leave for the look.
#[derive(Default)]
struct Incoming {
    format: VideoInfoRaw,
    /// Row by row without padding, blue first.
    picture: Vec<u8>,
    size: (u32, u32),
    is_fresh: bool,
    failure: Option<String>,
}

/// See the module's text.
pub(super) struct Stream {
    // In the order they have to be dropped in.
    _listener: StreamListener<Rc<RefCell<Incoming>>>,
    _stream: StreamRc,
    _core: CoreRc,
    _context: ContextRc,
    main_loop: MainLoopRc,
    incoming: Rc<RefCell<Incoming>>,
}

impl Stream {
    pub(super) fn open(remote: OwnedFd, node: u32) -> Result<Self, CaptureError> {
        Self::connect(remote, node).map_err(|error| CaptureError::Lost(error.to_string()))
    }

    fn connect(remote: OwnedFd, node: u32) -> Result<Self, pipewire::Error> {
        pipewire::init();
        let main_loop = MainLoopRc::new(None)?;
        let context = ContextRc::new(&main_loop, None)?;
        let core = context.connect_fd_rc(remote, None)?;
        let role = properties! {
            // What was chosen and nothing else, were it the camera.
            *pipewire::keys::NODE_DONT_RECONNECT => "true",
            *pipewire::keys::MEDIA_TYPE => "Video",
            *pipewire::keys::MEDIA_CATEGORY => "Capture",
            *pipewire::keys::MEDIA_ROLE => "Screen",
        };
        let stream = StreamRc::new(core.clone(), "visavis", role)?;
        let incoming = Rc::new(RefCell::new(Incoming::default()));
        let listener = stream
            .add_local_listener_with_user_data(Rc::clone(&incoming))
            .state_changed(|_, incoming, _, state| {
                if let StreamState::Error(error) = state {
                    incoming.borrow_mut().failure = Some(error);
                } else if state == StreamState::Unconnected {
                    incoming.borrow_mut().failure = Some("disconnected".to_owned());
                }
            })
            .param_changed(|stream, incoming, id, param| {
                let is_format = id == ParamType::Format.as_raw();
                let Some(param) = param.filter(|_| is_format) else {
                    return;
                };
                let mut incoming = incoming.borrow_mut();
                if incoming.format.parse(param).is_err() {
                    incoming.failure = Some("an unknown format".to_owned());
                    return;
                }
                let (memory, crop) = (pod(wanted_memory()), pod(wanted_crop()));
                let mut params: Vec<&Pod> = [&memory, &crop]
                    .into_iter()
                    .filter_map(|bytes| Pod::from_bytes(bytes))
                    .collect();
                if let Err(error) = stream.update_params(&mut params) {
                    incoming.failure = Some(error.to_string());
                }
            })
            .process(|stream, incoming| {
                // Only the newest is worth a copy.
                let mut newest = None;
                while let Some(buffer) = stream.dequeue_buffer() {
                    newest = Some(buffer);
                }
                if let Some(mut buffer) = newest {
                    incoming.borrow_mut().take(&mut buffer);
                }
            })
            .register()?;
        let format = pod(wanted_format());
        let mut params: Vec<&Pod> = Pod::from_bytes(&format).into_iter().collect();
        let flags = StreamFlags::AUTOCONNECT | StreamFlags::MAP_BUFFERS;
        stream.connect(Direction::Input, Some(node), flags, &mut params)?;
        Ok(Self {
            _listener: listener,
            _stream: stream,
            _core: core,
            _context: context,
            main_loop,
            incoming,
        })
    }

    /// Takes what came since the last look; whether it shows anything new.
    pub(super) fn grab(&mut self, canvas: &mut Canvas) -> Result<bool, CaptureError> {
        for _ in 0..ROUNDS {
            let handled = self
                .main_loop
                .loop_()
                .iterate(pipewire::loop_::Timeout::Finite(Duration::ZERO));
            if handled <= 0 {
                break;
            }
        }
        let mut incoming = self.incoming.borrow_mut();
        if let Some(failure) = incoming.failure.take() {
            return Err(CaptureError::Lost(failure));
        }
        if !std::mem::take(&mut incoming.is_fresh) {
            return Ok(false);
        }
        Ok(canvas.show(incoming.size, &incoming.picture))
    }
}

impl Incoming {
    fn take(&mut self, buffer: &mut pipewire::buffer::Buffer<'_>) {
        let Rectangle { width, height } = self.format.size();
        // What a window's picture fills of its buffer.
        let crop = buffer
            .find_meta::<MetaVideoCrop>()
            .map(MetaVideoCrop::meta_region)
            .filter(|region| region.is_valid())
            .map(|region| (region.position(), region.size()));
        let most = MOST_SIDE_PX;
        let whole = (width.min(most), height.min(most));
        let area = crop.map_or_else(
            || Area::clipped(0, 0, width.into(), height.into(), whole),
            |(at, size)| {
                let (x, y) = (at.x.into(), at.y.into());
                Area::clipped(x, y, size.width.into(), size.height.into(), whole)
            },
        );
        let Some(data) = buffer.datas_mut().first_mut() else {
            return;
        };
        let chunk = data.chunk();
        let (offset, size) = (chunk.offset() as usize, chunk.size());
        let stride = usize::try_from(chunk.stride()).unwrap_or(0);
        if size == 0 || chunk.flags().contains(ChunkFlags::CORRUPTED) {
            return;
        }
        let is_swapped = [VideoFormat::RGBx, VideoFormat::RGBA].contains(&self.format.format());
        let bytes = data.data().and_then(|bytes| bytes.get(offset..));
        if let Some(bytes) = bytes
            && cut(bytes, stride, area, is_swapped, &mut self.picture)
        {
            self.size = (area.width, area.height);
            self.is_fresh = true;
        }
    }
}

/// Pixels of four bytes, of any size, at the rate they are looked at.
fn wanted_format() -> Object {
    let fps = |num| Fraction { num, denom: 1 };
    object!(
        SpaTypes::ObjectParamFormat,
        ParamType::EnumFormat,
        property!(FormatProperties::MediaType, Id, MediaType::Video),
        property!(FormatProperties::MediaSubtype, Id, MediaSubtype::Raw),
        property!(
            FormatProperties::VideoFormat,
            Choice,
            Enum,
            Id,
            VideoFormat::BGRx,
            VideoFormat::BGRx,
            VideoFormat::BGRA,
            VideoFormat::RGBx,
            VideoFormat::RGBA,
        ),
        property!(
            FormatProperties::VideoSize,
            Choice,
            Range,
            Rectangle,
            Rectangle {
                width: 1_920,
                height: 1_080
            },
            Rectangle {
                width: 1,
                height: 1
            },
            Rectangle {
                width: MOST_PX,
                height: MOST_PX
            }
        ),
        property!(
            FormatProperties::VideoFramerate,
            Choice,
            Range,
            Fraction,
            fps(SHARE_FPS),
            fps(0),
            fps(SHARE_FPS)
        ),
    )
}

/// Buffers that can be mapped.
fn wanted_memory() -> Object {
    let bit = |kind: DataType| 1 << kind.as_raw();
    let flags = bit(DataType::MemPtr) | bit(DataType::MemFd);
    let kinds = ChoiceEnum::Flags {
        default: flags,
        flags: Vec::new(),
    };
    let kinds = Choice(ChoiceFlags::empty(), kinds);
    Object {
        type_: SpaTypes::ObjectParamBuffers.as_raw(),
        id: ParamType::Buffers.as_raw(),
        properties: vec![Property::new(
            sys::SPA_PARAM_BUFFERS_dataType,
            Value::Choice(pipewire::spa::pod::ChoiceValue::Int(kinds)),
        )],
    }
}

/// Which part of a buffer a window fills.
fn wanted_crop() -> Object {
    let bytes = size_of::<sys::spa_meta_region>() as i32;
    Object {
        type_: SpaTypes::ObjectParamMeta.as_raw(),
        id: ParamType::Meta.as_raw(),
        properties: vec![
            Property::new(
                sys::SPA_PARAM_META_type,
                Value::Id(Id(sys::SPA_META_VideoCrop)),
            ),
            Property::new(sys::SPA_PARAM_META_size, Value::Int(bytes)),
        ],
    }
}

fn pod(object: Object) -> Vec<u8> {
    // Writing into memory does not fail, and without bytes the parameter is left out.
    let written = PodSerializer::serialize(Cursor::new(Vec::new()), &Value::Object(object));
    written.map_or_else(|_| Vec::new(), |(bytes, _)| bytes.into_inner())
}
