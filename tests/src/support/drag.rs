//! Files dragged onto a window with a real pointer: a window that offers them (`visavis-drag-source`)
//! and `xdotool`, which moves the pointer and its button. Between them runs the real protocol
//! (XDND).

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::window::binary;

/// Files in the corner of a screen, ready to be dragged. The window ends with this value.
pub struct DragSource<'a> {
    process: Child,
    display: &'a str,
}

impl<'a> DragSource<'a> {
    /// Shows a small window at the top left of the screen.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn open(display: &'a str, files: &[&Path]) -> Self {
        let mut process = Command::new(binary("visavis-drag-source"))
            .args(files)
            .env("DISPLAY", display)
            .env("NO_AT_BRIDGE", "1")
            .env_remove("WAYLAND_DISPLAY")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the drag source starts");
        let stdout = process.stdout.take().expect("stdout is piped");
        let mut line = String::new();
        let read = BufReader::new(stdout).read_line(&mut line);
        assert!(
            read.is_ok() && line == "ready\n",
            "the drag source said {line:?}"
        );
        Self { process, display }
    }

    /// Takes the files up.
    pub fn grab(&self) {
        // Past the distance from which GTK takes a moved button for a drag.
        self.pointer("mousemove 20 20 mousedown 1 mousemove 24 24 mousemove 60 60");
    }

    /// Moves them to a place and about it. Once is not enough: the first movements only make the
    /// two windows meet.
    pub fn hover(&self, x: u32, y: u32) {
        let aside = x + 5;
        self.pointer(&format!("mousemove {x} {y} mousemove {aside} {y}"));
    }

    /// Lets them go where the pointer is.
    pub fn drop_here(&self) {
        self.pointer("mouseup 1");
    }

    fn pointer(&self, commands: &str) {
        assert!(
            xdotool(self.display, &commands.split(' ').collect::<Vec<_>>()),
            "xdotool failed"
        );
    }
}

/// Moves pointer and keys of a screen; whether that worked.
pub fn xdotool(display: &str, commands: &[&str]) -> bool {
    Command::new("xdotool")
        .args(commands)
        .env("DISPLAY", display)
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

impl Drop for DragSource<'_> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
