//! `visavis-headless` and `visavis-server` as processes: started, watched by their lines, ended.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::network::Namespace;
use super::window::binary;

/// How long anything a client reports may take, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A child process that prints JSON lines. Killed when dropped.
pub struct Lines {
    child: Child,
    /// Of one that takes commands.
    input: Option<ChildStdin>,
    incoming: Receiver<Value>,
    /// Every line so far, in order.
    pub seen: Vec<Value>,
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Every line it printed.
    pub lines: Vec<Value>,
}

impl Lines {
    /// Starts a binary of this workspace. Its standard error goes to the test's.
    ///
    /// # Panics
    /// When it is not built or does not start.
    pub fn start(name: &str, args: &[&str]) -> Self {
        Self::start_with(name, args, &[])
    }

    /// As [`Self::start`], with these variables in its environment.
    ///
    /// # Panics
    /// When it is not built or does not start.
    pub fn start_with(name: &str, args: &[&str], environment: &[(&str, PathBuf)]) -> Self {
        let mut command = Command::new(binary(name));
        command.args(args);
        Self::start_command(command, environment, false)
    }

    /// As [`Self::start`], in another network namespace.
    ///
    /// # Panics
    /// When it is not built or does not start.
    pub fn start_inside(namespace: &Namespace, name: &str, args: &[&str]) -> Self {
        Self::start_behind(&namespace.prefix(), name, args)
    }

    /// As [`Self::start`], by a program whose arguments end with another one to start.
    ///
    /// # Panics
    /// When it is not built or does not start.
    pub fn start_behind(prefix: &[impl AsRef<OsStr>], name: &str, args: &[&str]) -> Self {
        let mut command = Command::new(&prefix[0]);
        command.args(&prefix[1..]).arg(binary(name)).args(args);
        Self::start_command(command, &[], false)
    }

    /// Starts any program that takes commands ([`Self::say`]), in another network namespace if one
    /// is named.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_commanded(
        namespace: Option<&Namespace>,
        program: &Path,
        args: &[&str],
        environment: &[(&str, PathBuf)],
    ) -> Self {
        let mut command = match namespace.map(Namespace::prefix) {
            None => Command::new(program),
            Some(prefix) => {
                let mut command = Command::new(&prefix[0]);
                command.args(&prefix[1..]).arg(program);
                command
            }
        };
        command.args(args);
        Self::start_command(command, environment, true)
    }

    fn start_command(
        mut command: Command,
        environment: &[(&str, PathBuf)],
        is_commanded: bool,
    ) -> Self {
        let mut child = command
            .envs(environment.iter().map(|(name, value)| (name, value)))
            // To the others a closed standard input must not matter.
            .stdin(if is_commanded {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} starts: {error}"));
        let out = child.stdout.take().expect("standard output was piped");
        let (sender, incoming) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines() {
                let Ok(line) = line else { return };
                let value = serde_json::from_str(&line)
                    .unwrap_or_else(|error| panic!("not a JSON line ({error}): {line}"));
                if sender.send(value).is_err() {
                    return;
                }
            }
        });
        Self {
            input: child.stdin.take(),
            child,
            incoming,
            seen: Vec::new(),
        }
    }

    /// Gives a command.
    ///
    /// # Panics
    /// When the process takes none or is gone.
    pub fn say(&mut self, command: &Value) {
        let input = self.input.as_mut().expect("it was started with an input");
        writeln!(input, "{command}").expect("it reads its commands");
    }

    /// Ends the input, which ends what lives by its commands; returns when it has ended, or after
    /// `most`.
    pub fn end_input(&mut self, most: Duration) {
        self.input = None;
        self.watch(most);
    }

    /// The first line, past or future, that `matches`.
    ///
    /// # Panics
    /// When none comes within [`PATIENCE`].
    pub fn until(&mut self, what: &str, matches: impl Fn(&Value) -> bool) -> Value {
        self.until_from(0, what, matches)
    }

    /// The first report of this type of a program that names its reports so, as the peers of benchmarks
    /// do.
    ///
    /// # Panics
    /// When it reports an error, or none comes within [`PATIENCE`].
    pub fn reported(&mut self, kind: &str) -> Value {
        self.until(kind, |line| {
            assert!(line["type"] != "error", "{line}");
            line["type"] == kind
        })
    }

    /// As [`Self::until`], not looking at the first `skipped` lines.
    ///
    /// # Panics
    /// When none comes within [`PATIENCE`].
    pub fn until_from(
        &mut self,
        skipped: usize,
        what: &str,
        matches: impl Fn(&Value) -> bool,
    ) -> Value {
        if let Some(line) = self.seen.iter().skip(skipped).find(|line| matches(line)) {
            return line.clone();
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.incoming.recv_timeout(left) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if matches(&line) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    panic!("no {what} within {PATIENCE:?}; so far: {}", self.told())
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("ended without {what}; so far: {}", self.told())
                }
            }
        }
    }

    /// The first line of this event.
    ///
    /// # Panics
    /// When none comes within [`PATIENCE`].
    pub fn event(&mut self, event: &str) -> Value {
        self.until(event, |line| line["event"] == event)
    }

    /// Collects lines for a while.
    pub fn watch(&mut self, time: Duration) {
        let deadline = Instant::now() + time;
        while let Ok(line) = self
            .incoming
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            self.seen.push(line);
        }
    }

    /// Everything said so far but the figures, for messages.
    fn told(&self) -> String {
        let lines = self.seen.iter().filter(|line| line["event"] != "stats");
        lines.map(|line| format!("\n  {line}")).collect()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills the process as a power cut would.
    ///
    /// # Panics
    /// When it cannot be killed.
    pub fn kill(mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a killed child ends");
    }

    /// Asks the process to end (SIGTERM) and waits.
    ///
    /// # Panics
    /// When it does not end within [`PATIENCE`].
    pub fn terminate(self) -> Ended {
        let status = Command::new("kill").arg(self.pid().to_string()).status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "the process is gone already"
        );
        self.wait()
    }

    /// Waits for the process to end by itself.
    ///
    /// # Panics
    /// When it does not end within [`PATIENCE`].
    pub fn wait(mut self) -> Ended {
        // The output closes when the process ends.
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self
                .incoming
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("did not end within {PATIENCE:?}; so far: {}", self.told())
                }
            }
        }
        let status = self.child.wait().expect("a child can be waited for");
        Ended {
            code: status.code(),
            lines: std::mem::take(&mut self.seen),
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        // Already ended is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A `visavis-server` process on loopback.
pub struct Server {
    /// The process.
    pub process: Lines,
    /// `ws://127.0.0.1:PORT`.
    pub url: String,
    /// `127.0.0.1:PORT`.
    pub address: String,
}

impl Server {
    /// Starts a server on a free port.
    ///
    /// # Panics
    /// When it does not start listening.
    pub fn start() -> Self {
        Self::start_at("127.0.0.1:0")
    }

    /// Starts a server on this address.
    ///
    /// # Panics
    /// When it does not start listening.
    pub fn start_at(address: &str) -> Self {
        Self::start_with(&["--http", address, "--media", "127.0.0.1:0"])
    }

    /// Starts a server with these arguments.
    ///
    /// # Panics
    /// When it does not start listening.
    pub fn start_with(args: &[&str]) -> Self {
        let mut process = Lines::start("visavis-server", args);
        let listening = process.event("listening");
        let address = listening["http"]
            .as_str()
            .expect("an address is text")
            .to_owned();
        Self {
            process,
            url: format!("ws://{address}"),
            address,
        }
    }
}

/// What a headless member of a test sends and keeps.
pub struct MemberOptions<'a> {
    /// Display name, and so the name of the files others record.
    pub name: &'a str,
    /// As `--video` takes it.
    pub video: &'a str,
    /// As `--audio` takes it.
    pub audio: &'a str,
    /// Where to record, if at all.
    pub record: Option<&'a Path>,
}

/// Starts a member: with a code joining, without one opening a room.
///
/// # Panics
/// When the client is not built.
pub fn member(server: &str, code: Option<&str>, options: &MemberOptions<'_>) -> Lines {
    member_with(server, code, options, &[])
}

/// As [`member`], with further arguments.
///
/// # Panics
/// When the client is not built.
pub fn member_with(
    server: &str,
    code: Option<&str>,
    options: &MemberOptions<'_>,
    further: &[&str],
) -> Lines {
    let MemberOptions {
        name,
        video,
        audio,
        record,
    } = options;
    let mut args = vec![
        "--server", server, "--name", name, "--video", video, "--audio", audio,
    ];
    match code {
        Some(code) => args.extend(["--code", code]),
        None => args.push("--create"),
    }
    let record = record.map(|path| path.to_str().expect("test paths are text").to_owned());
    if let Some(record) = &record {
        args.extend(["--record", record]);
    }
    args.extend(further);
    Lines::start("visavis-headless", &args)
}

/// The code of the room a member is in.
///
/// # Panics
/// When it does not tell one.
pub fn code_of(member: &mut Lines) -> String {
    member.event("room")["code"]
        .as_str()
        .expect("a code is text")
        .to_owned()
}
