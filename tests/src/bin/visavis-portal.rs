//! The part of a Wayland desktop that shows its screen: the backend of the XDG desktop portal
//! `ScreenCast`, and a screen of one colour as a stream of PipeWire. No compositor runs without a
//! graphics card *and* has a portal that shows it, so this stands in for both; the portal itself, the
//! message bus and PipeWire are those of every desktop.
//!
//! `visavis-portal WIDTHxHEIGHT FOLDER`: what the file `screen` in the folder says is done, at any
//! time: `RRGGBB` is shown, `cancel` makes the person close the dialog, `end` takes the screen away. The
//! file `closed` appears once an application said that it shares no more.

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    linux::run()
}

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
mod linux {
    use std::cell::RefCell;
    use std::collections::HashMap;
    use std::error::Error;
    use std::io::Cursor;
    use std::path::{Path, PathBuf};
    use std::process::Command;
    use std::rc::Rc;
    use std::time::Duration;

    use pipewire::context::ContextRc;
    use pipewire::main_loop::MainLoopRc;
    use pipewire::properties::properties;
    use pipewire::spa::param::ParamType;
    use pipewire::spa::param::format::{FormatProperties, MediaSubtype, MediaType};
    use pipewire::spa::param::video::VideoFormat;
    use pipewire::spa::pod::serialize::PodSerializer;
    use pipewire::spa::pod::{Object, Pod, Property, Value as PodValue, object, property};
    use pipewire::spa::sys;
    use pipewire::spa::utils::{Direction, Fraction, Rectangle, SpaTypes};
    use pipewire::stream::{StreamFlags, StreamRc};
    use zbus::zvariant::{ObjectPath, OwnedObjectPath, Value};

    const NAME: &str = "visavis-screen";
    const FPS: u32 = 15;
    /// Of the portal's `Response`.
    const CHOSEN: u32 = 0;
    const CANCELLED: u32 = 1;

    type Options<'a> = HashMap<String, Value<'a>>;
    type Answer<'a> = (u32, HashMap<&'static str, Value<'a>>);

    pub(super) fn run() -> Result<(), Box<dyn Error>> {
        let mut arguments = std::env::args().skip(1);
        let size = arguments.next().ok_or("no size")?;
        let (width, height) = size.split_once('x').ok_or("no height")?;
        let size = (width.parse()?, height.parse()?);
        let folder = PathBuf::from(arguments.next().ok_or("no folder")?);
        let shown = folder.clone();
        std::thread::spawn(move || show(size, &shown).expect("PipeWire shows a screen"));
        let cast = ScreenCast {
            node: node()?,
            folder,
        };
        let path = "/org/freedesktop/portal/desktop";
        let _connection = zbus::blocking::connection::Builder::session()?
            .name("org.freedesktop.impl.portal.desktop.visavis")?
            .serve_at(path, cast)?
            .build()?;
        loop {
            std::thread::park();
        }
    }

    /// A screen as a stream of PipeWire, until it is taken away. Returns then.
    fn show(size: (u32, u32), folder: &Path) -> Result<(), pipewire::Error> {
        pipewire::init();
        let main_loop = MainLoopRc::new(None)?;
        let context = ContextRc::new(&main_loop, None)?;
        let core = context.connect_rc(None)?;
        let described = properties! {
            *pipewire::keys::NODE_NAME => NAME,
            *pipewire::keys::MEDIA_CLASS => "Video/Source",
        };
        let stream = StreamRc::new(core, NAME, described)?;
        let picture = Rc::new(RefCell::new(vec![0_u8; (4 * size.0 * size.1) as usize]));
        let shown = Rc::clone(&picture);
        let _listener = stream
            .add_local_listener::<()>()
            .param_changed(move |stream, (), id, param| {
                if id == ParamType::Format.as_raw() && param.is_some() {
                    let wanted = pod(buffers(size));
                    let mut params: Vec<&Pod> = Pod::from_bytes(&wanted).into_iter().collect();
                    stream.update_params(&mut params).expect("it takes buffers");
                }
            })
            .process(move |stream, ()| {
                let Some(mut buffer) = stream.dequeue_buffer() else {
                    return;
                };
                let Some(data) = buffer.datas_mut().first_mut() else {
                    return;
                };
                let picture = shown.borrow();
                if let Some(memory) = data.data() {
                    memory[..picture.len()].copy_from_slice(&picture);
                }
                let chunk = data.chunk_mut();
                *chunk.offset_mut() = 0;
                *chunk.size_mut() = picture.len() as u32;
                *chunk.stride_mut() = 4 * size.0 as i32;
            })
            .register()?;
        let offered = pod(format(size));
        let mut params: Vec<&Pod> = Pod::from_bytes(&offered).into_iter().collect();
        let flags = StreamFlags::DRIVER | StreamFlags::MAP_BUFFERS;
        stream.connect(Direction::Output, None, flags, &mut params)?;
        let quit = main_loop.downgrade();
        let driven = stream.clone();
        let folder = folder.to_owned();
        let timer = main_loop.loop_().add_timer(move |_| {
            let wish = wish(&folder);
            if wish == "end"
                && let Some(main_loop) = quit.upgrade()
            {
                main_loop.quit();
            }
            if let Ok(colour) = u32::from_str_radix(&wish, 16) {
                for pixel in picture.borrow_mut().chunks_exact_mut(4) {
                    pixel.copy_from_slice(&colour.to_le_bytes());
                }
            }
            // Refused while nobody looks.
            let _ = driven.trigger_process();
        });
        let tick = Duration::from_secs(1) / FPS;
        timer.update_timer(Some(tick), Some(tick)).into_result()?;
        main_loop.run();
        Ok(())
    }

    fn format((width, height): (u32, u32)) -> Object {
        object!(
            SpaTypes::ObjectParamFormat,
            ParamType::EnumFormat,
            property!(FormatProperties::MediaType, Id, MediaType::Video),
            property!(FormatProperties::MediaSubtype, Id, MediaSubtype::Raw),
            property!(FormatProperties::VideoFormat, Id, VideoFormat::BGRx),
            property!(
                FormatProperties::VideoSize,
                Rectangle,
                Rectangle { width, height }
            ),
            // As compositors do: whenever something changes.
            property!(
                FormatProperties::VideoFramerate,
                Fraction,
                Fraction { num: 0, denom: 1 }
            ),
        )
    }

    fn buffers((width, height): (u32, u32)) -> Object {
        let stride = 4 * width as i32;
        let int = |key, value| Property::new(key, PodValue::Int(value));
        Object {
            type_: SpaTypes::ObjectParamBuffers.as_raw(),
            id: ParamType::Buffers.as_raw(),
            properties: vec![
                int(sys::SPA_PARAM_BUFFERS_buffers, 4),
                int(sys::SPA_PARAM_BUFFERS_blocks, 1),
                int(sys::SPA_PARAM_BUFFERS_size, stride * height as i32),
                int(sys::SPA_PARAM_BUFFERS_stride, stride),
            ],
        }
    }

    fn pod(object: Object) -> Vec<u8> {
        PodSerializer::serialize(Cursor::new(Vec::new()), &PodValue::Object(object))
            .expect("memory can be written")
            .0
            .into_inner()
    }

    fn wish(folder: &Path) -> String {
        let text = std::fs::read_to_string(folder.join("screen"));
        text.unwrap_or_default().trim().to_owned()
    }

    /// What PipeWire calls the screen.
    fn node() -> Result<u32, Box<dyn Error>> {
        for _ in 0..100 {
            let dump = Command::new("pw-dump").output()?;
            let objects: serde_json::Value =
                serde_json::from_slice(&dump.stdout).unwrap_or_default();
            let found = objects.as_array().into_iter().flatten().find(|object| {
                object["info"]["props"]["node.name"] == NAME
                    && object["type"] == "PipeWire:Interface:Node"
            });
            if let Some(id) = found.and_then(|object| object["id"].as_u64()) {
                return Ok(u32::try_from(id)?);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err("no screen in PipeWire".into())
    }

    struct ScreenCast {
        node: u32,
        folder: PathBuf,
    }

    #[zbus::interface(name = "org.freedesktop.impl.portal.ScreenCast")]
    impl ScreenCast {
        async fn create_session(
            &self,
            _handle: ObjectPath<'_>,
            session_handle: OwnedObjectPath,
            _app_id: &str,
            _options: Options<'_>,
            #[zbus(object_server)] server: &zbus::ObjectServer,
        ) -> zbus::fdo::Result<Answer<'static>> {
            let closed = self.folder.join("closed");
            server.at(session_handle, Session { closed }).await?;
            Ok((CHOSEN, HashMap::new()))
        }

        fn select_sources(
            &self,
            _handle: ObjectPath<'_>,
            _session_handle: ObjectPath<'_>,
            _app_id: &str,
            _options: Options<'_>,
        ) -> Answer<'static> {
            (CHOSEN, HashMap::new())
        }

        fn start(
            &self,
            _handle: ObjectPath<'_>,
            _session_handle: ObjectPath<'_>,
            _app_id: &str,
            _parent_window: &str,
            _options: Options<'_>,
        ) -> Answer<'static> {
            if wish(&self.folder) == "cancel" {
                return (CANCELLED, HashMap::new());
            }
            let streams = vec![(self.node, HashMap::<&str, Value<'_>>::new())];
            (CHOSEN, HashMap::from([("streams", Value::from(streams))]))
        }

        /// Screens.
        #[zbus(property, name = "AvailableSourceTypes")]
        fn available_source_types(&self) -> u32 {
            1
        }

        /// Hidden, or drawn into the picture.
        #[zbus(property, name = "AvailableCursorModes")]
        fn available_cursor_modes(&self) -> u32 {
            3
        }

        #[zbus(property, name = "version")]
        fn version(&self) -> u32 {
            4
        }
    }

    struct Session {
        closed: PathBuf,
    }

    #[zbus::interface(name = "org.freedesktop.impl.portal.Session")]
    impl Session {
        fn close(&self) -> zbus::fdo::Result<()> {
            std::fs::write(&self.closed, "")
                .map_err(|error| zbus::fdo::Error::Failed(error.to_string()))
        }
    }
}
