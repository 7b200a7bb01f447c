use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use x11rb::protocol::xproto::{ConfigureWindowAux, CreateWindowAux, PropMode, WindowClass};
use x11rb::wrapper::ConnectionExt as _;

use super::*;
use crate::screen::canvas::PIXEL;

/// An X server of this test's.
struct Server {
    process: Child,
    name: String,
}

impl Server {
    /// `None`, said aloud, where there is no Xvfb.
    fn start() -> Option<Self> {
        // It tells the number of the display it found free.
        let started = Command::new("Xvfb")
            .args([
                "-displayfd",
                "1",
                "-screen",
                "0",
                "640x480x24",
                "-nolisten",
                "tcp",
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut process) = started else {
            eprintln!("SKIPPED: no Xvfb on this machine");
            return None;
        };
        let mut number = String::new();
        let out = process.stdout.take().expect("standard output was piped");
        BufReader::new(out)
            .read_line(&mut number)
            .expect("a number");
        let name = format!(":{}", number.trim());
        Some(Self { process, name })
    }

    fn connect(&self) -> Display {
        Display::open(Some(&self.name)).expect("Xvfb takes connections")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A plain window: at x and y, so wide and high, of a colour, with a title.
fn window(on: &Display, place: (i16, i16, u16, u16), colour: u32, title: &str) -> Window {
    let (x, y, width, height) = place;
    let window = on.connection.generate_id().unwrap();
    let aux = CreateWindowAux::new().background_pixel(colour);
    let kind = WindowClass::INPUT_OUTPUT;
    let made = on.connection.create_window(
        x11rb::COPY_DEPTH_FROM_PARENT,
        window,
        on.root,
        x,
        y,
        width,
        height,
        0,
        kind,
        0,
        &aux,
    );
    made.unwrap().check().unwrap();
    let name = x11rb::protocol::xproto::AtomEnum::WM_NAME;
    let text = x11rb::protocol::xproto::AtomEnum::STRING;
    let named =
        on.connection
            .change_property8(PropMode::REPLACE, window, name, text, title.as_bytes());
    named.unwrap().check().unwrap();
    on.connection.map_window(window).unwrap().check().unwrap();
    window
}

/// The colour of a pixel.
fn at(canvas: &Canvas, x: usize, y: usize) -> u32 {
    let start = (y * canvas.size().0 as usize + x) * PIXEL;
    let pixel = &canvas.pixels()[start..start + 3];
    u32::from_be_bytes([0, pixel[2], pixel[1], pixel[0]])
}

/// Looks until something changed.
fn look(grabber: &mut dyn Grabber, canvas: &mut Canvas) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !grabber.grab(canvas).unwrap() {
        assert!(Instant::now() < deadline, "nothing changed");
    }
}

const RED: u32 = 0x00c8_1432;
const BLUE: u32 = 0x0014_32c8;
const GREEN: u32 = 0x0032_c814;

#[test]
fn a_screen_is_followed_by_its_changes() {
    let Some(server) = Server::start() else {
        return;
    };
    let person = server.connect();
    let screen = ShareSource::Screen { name: None };
    let mut grabber = open_at(Some(&server.name), &screen).unwrap();
    let mut canvas = Canvas::default();
    look(&mut *grabber, &mut canvas);
    assert_eq!(canvas.size(), (640, 480));
    assert!(
        canvas.pointer.is_some(),
        "the pointer is on the only screen"
    );
    assert!(!grabber.grab(&mut canvas).unwrap(), "nothing happened");
    let red = window(&person, (100, 50, 200, 100), RED, "red");
    look(&mut *grabber, &mut canvas);
    assert_eq!([at(&canvas, 100, 50), at(&canvas, 299, 149)], [RED; 2]);
    assert_ne!(at(&canvas, 300, 150), RED);
    let moved = ConfigureWindowAux::new().x(300);
    person.connection.configure_window(red, &moved).unwrap();
    person.connection.sync().unwrap();
    look(&mut *grabber, &mut canvas);
    assert_eq!(at(&canvas, 499, 149), RED);
    assert_ne!(at(&canvas, 150, 80), RED);
    // The pointer alone is news as well.
    let none = x11rb::NONE;
    let warped = person
        .connection
        .warp_pointer(none, person.root, 0, 0, 0, 0, 20, 30);
    warped.unwrap().check().unwrap();
    look(&mut *grabber, &mut canvas);
    let pointer = canvas.pointer.clone().unwrap();
    assert!(
        (-44..=20).contains(&pointer.x) && (-34..=30).contains(&pointer.y),
        "{pointer:?}"
    );
    let missing = ShareSource::Screen {
        name: Some("another".to_owned()),
    };
    let mut other = open_at(Some(&server.name), &missing).unwrap();
    assert_eq!(other.grab(&mut canvas), Err(CaptureError::NotFound));
}

#[test]
fn a_window_is_shown_without_what_lies_above_it() {
    let Some(server) = Server::start() else {
        return;
    };
    let person = server.connect();
    let red = window(&person, (50, 50, 200, 100), RED, "red");
    let source = ShareSource::Window {
        id: format!("{red:x}"),
    };
    let mut grabber = open_at(Some(&server.name), &source).unwrap();
    let mut canvas = Canvas::default();
    look(&mut *grabber, &mut canvas);
    assert_eq!(canvas.size(), (200, 100));
    let blue = window(&person, (100, 50, 200, 100), BLUE, "blue");
    person.connection.sync().unwrap();
    // Drawn anew, below the blue one.
    let aux = ChangeWindowAttributesAux::new().background_pixel(GREEN);
    person
        .connection
        .change_window_attributes(red, &aux)
        .unwrap();
    person
        .connection
        .clear_area(false, red, 0, 0, 0, 0)
        .unwrap();
    person.connection.sync().unwrap();
    look(&mut *grabber, &mut canvas);
    assert_eq!([at(&canvas, 10, 10), at(&canvas, 190, 90)], [GREEN; 2]);
    let wide = ConfigureWindowAux::new().width(300);
    person.connection.configure_window(red, &wide).unwrap();
    person.connection.sync().unwrap();
    look(&mut *grabber, &mut canvas);
    assert_eq!((canvas.size(), at(&canvas, 299, 50)), ((300, 100), GREEN));
    let listed = listing::list(&person, true).unwrap();
    let names: Vec<_> = listed.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(
        names[1..],
        ["blue", "red"],
        "the topmost first, screens before"
    );
    let seen = |id: usize| listed[id].canvas.as_ref().map(|canvas| at(canvas, 5, 5));
    assert_eq!([seen(1), seen(2)], [Some(BLUE), Some(GREEN)]);
    assert_eq!(listed[1].source.to_string(), format!("window:{blue:x}"));
    let without_screens = listing::list(&person, false).unwrap();
    assert_eq!(without_screens.len() + 1, listed.len());
    person
        .connection
        .destroy_window(red)
        .unwrap()
        .check()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    let gone = loop {
        match grabber.grab(&mut canvas) {
            Ok(_) => assert!(Instant::now() < deadline, "it is still seen"),
            Err(error) => break error,
        }
    };
    assert_eq!(gone, CaptureError::NotFound);
}
