//! A private PulseAudio with a room of two channels: a mouth that speaks and an ear that hears.
//!
//! One null sink carries both channels, so one recording of its monitor has both on one clock,
//! and whatever the recorder adds to one it adds to the other.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the daemon may take to come up on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running daemon; it ends with this value.
pub struct SoundServer {
    daemon: Child,
    directory: tempfile::TempDir,
}

impl SoundServer {
    /// Starts the daemon and its devices: sinks `mouth` and `ear`, the source `microphone` that
    /// hears the mouth, and the source `room.monitor` with the mouth on the left, the ear on the
    /// right.
    ///
    /// # Errors
    /// PulseAudio is missing or did not come up.
    ///
    /// # Panics
    /// When no temporary files can be made.
    pub fn start() -> Result<Self, String> {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let socket = directory.path().join("socket");
        // Programs that know ALSA only reach it through the plugin.
        let alsa = "</usr/share/alsa/alsa.conf>\n\
                    pcm.!default { type pulse }\nctl.!default { type pulse }\n";
        std::fs::write(directory.path().join("alsa.conf"), alsa).expect("files can be written");
        let modules = [
            format!(
                "module-native-protocol-unix auth-anonymous=1 socket={}",
                socket.display()
            ),
            "module-null-sink sink_name=room rate=48000 channels=2 \
             channel_map=front-left,front-right"
                .to_owned(),
            "module-remap-sink sink_name=mouth master=room channels=1 channel_map=mono \
             master_channel_map=front-left remix=no"
                .to_owned(),
            "module-remap-sink sink_name=ear master=room channels=1 channel_map=mono \
             master_channel_map=front-right remix=no"
                .to_owned(),
            "module-remap-source source_name=microphone master=room.monitor channels=1 \
             channel_map=mono master_channel_map=front-left remix=no"
                .to_owned(),
        ];
        let mut command = Command::new("pulseaudio");
        command.args([
            "-n",
            "--daemonize=no",
            "--exit-idle-time=-1",
            "--use-pid-file=no",
        ]);
        command.args([
            "--disable-shm=yes",
            "--log-target=stderr",
            "--log-level=error",
        ]);
        for module in modules {
            command.arg(format!("--load={module}"));
        }
        let daemon = command
            .env("XDG_RUNTIME_DIR", directory.path())
            .env("HOME", directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("pulseaudio: {error}"))?;
        let mut server = Self { daemon, directory };
        let deadline = Instant::now() + PATIENCE;
        while !server.answers() {
            let ended = server.daemon.try_wait();
            if Instant::now() > deadline || !matches!(ended, Ok(None)) {
                return Err("pulseaudio did not come up".to_owned());
            }
            std::thread::yield_now();
        }
        Ok(server)
    }

    fn answers(&self) -> bool {
        let mut ask = self.client("pactl");
        ask.args(["list", "short", "sources"]);
        ask.output()
            .is_ok_and(|out| String::from_utf8_lossy(&out.stdout).contains("microphone"))
    }

    /// What a program needs to use this server, and the given devices of it as its defaults.
    pub fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        let path = self.directory.path();
        let mut address = std::ffi::OsString::from("unix:");
        address.push(path.join("socket"));
        vec![
            ("PULSE_SERVER", address.into()),
            ("PULSE_SOURCE", "microphone".into()),
            ("PULSE_SINK", "ear".into()),
            ("ALSA_CONFIG_PATH", path.join("alsa.conf")),
            ("XDG_RUNTIME_DIR", path.to_owned()),
        ]
    }

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .envs(self.environment())
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Records the room (16 kHz, two channels of f32, little endian) into `file` until killed.
    ///
    /// # Panics
    /// When the recorder does not start.
    pub fn record(&self, file: &Path) -> Child {
        let file = std::fs::File::create(file).expect("files can be created");
        self.client("parec")
            .args([
                "--device=room.monitor",
                "--raw",
                "--rate=16000",
                "--channels=2",
            ])
            .args(["--format=float32le", "--latency-msec=20"])
            .stdout(file)
            .spawn()
            .expect("parec comes with pulseaudio-utils")
    }

    /// Speaks through the mouth what `file` holds (16 kHz, one channel of f32); returns at its end.
    ///
    /// # Panics
    /// When it cannot be played.
    pub fn speak(&self, file: &Path) {
        let file = std::fs::File::open(file).expect("the file was written");
        let status = self
            .client("pacat")
            .args([
                "--playback",
                "--device=mouth",
                "--raw",
                "--rate=16000",
                "--channels=1",
            ])
            .args(["--format=float32le", "--latency-msec=50"])
            .stdin(file)
            .status()
            .expect("pacat comes with pulseaudio-utils");
        assert!(status.success(), "pacat played");
    }
}

impl Drop for SoundServer {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}
