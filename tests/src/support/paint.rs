//! A plain coloured window on an X display, to be found in pictures of it.

use x11rb::connection::Connection as _;
use x11rb::protocol::xproto::{
    ConfigureWindowAux, ConnectionExt as _, CreateWindowAux, Window, WindowClass,
};
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;

/// Shown until it is dropped, above everything else and without a frame.
pub struct Swatch {
    connection: RustConnection,
    window: Window,
}

impl Swatch {
    /// A square at a place, `0xRRGGBB`; all in pixels.
    ///
    /// # Panics
    /// When the display refuses it.
    pub fn show(display: &str, (x, y): (i16, i16), side: u16, colour: u32) -> Self {
        let (connection, screen) = x11rb::connect(Some(display)).expect("the display is there");
        let root = connection.setup().roots[screen].root;
        let window = connection.generate_id().expect("X has ids left");
        let aux = CreateWindowAux::new()
            .background_pixel(colour)
            .override_redirect(1);
        let made = connection.create_window(
            x11rb::COPY_DEPTH_FROM_PARENT,
            window,
            root,
            x,
            y,
            side,
            side,
            0,
            WindowClass::INPUT_OUTPUT,
            0,
            &aux,
        );
        made.expect("requests are taken")
            .check()
            .expect("a window can be made");
        connection.map_window(window).expect("requests are taken");
        connection.sync().expect("the display answers");
        Self { connection, window }
    }

    /// Moves it.
    ///
    /// # Panics
    /// When the display is gone.
    pub fn move_to(&self, (x, y): (i16, i16)) {
        let aux = ConfigureWindowAux::new().x(i32::from(x)).y(i32::from(y));
        let moved = self.connection.configure_window(self.window, &aux);
        moved.expect("requests are taken");
        self.connection.sync().expect("the display answers");
    }
}
