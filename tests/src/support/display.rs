//! A private X display (Xvfb) for the app's windows.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A running Xvfb; it ends with this value.
pub struct Display {
    server: Child,
    /// The display's name, for `DISPLAY`.
    pub name: String,
}

impl Display {
    /// Starts Xvfb on a free display number.
    ///
    /// # Errors
    /// Xvfb is missing or did not come up.
    pub fn start(width_px: u32, height_px: u32) -> Result<Self, String> {
        let mut server = Command::new("Xvfb")
            .args(["-displayfd", "1", "-nolisten", "tcp", "-screen", "0"])
            .arg(format!("{width_px}x{height_px}x24"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("Xvfb: {error}"))?;
        let mut number = String::new();
        let stdout = server.stdout.take().expect("stdout is piped");
        let read = BufReader::new(stdout).read_line(&mut number);
        if read.is_err() || number.trim().is_empty() {
            let _ = server.kill();
            return Err("Xvfb did not come up".to_owned());
        }
        Ok(Self {
            server,
            name: format!(":{}", number.trim()),
        })
    }
}

impl Display {
    /// Of the X server.
    pub fn pid(&self) -> u32 {
        self.server.id()
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
