//! One app for each profile: a second start hands its invite to the first, and ends.
//!
//! The first holds a lock on `running.lock` in the profile as long as it lives, so a crash frees it.
//! It listens on the loopback interface; `running.json`, for its owner's eyes only, says on which port
//! and holds the token without which nothing said there counts.
//!
//! Deliberately not here: what becomes of an invite.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use call_client::keep::replace;
use serde::{Deserialize, Serialize};

/// How long the other app may take for each step. It answers from a thread of its own, so longer
/// only helps machines that stand still; whoever starts the app a second time waits as long.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at an app that is just starting.
const RETRY: Duration = Duration::from_millis(50);
/// Longest message taken in, in bytes: an invite is at most 1 KiB.
const MESSAGE_BYTES: u64 = 8 * 1024;
const DONE: &str = "done";

/// What a start came to.
#[derive(Debug)]
pub(crate) enum Claim {
    /// This is the profile's app.
    First(Instance),
    /// Another one is, and has the invite.
    HandedOver,
}

/// Holds the profile until it is dropped.
#[derive(Debug)]
pub(crate) struct Instance {
    _lock: File,
    listener: TcpListener,
    token: String,
}

#[derive(Serialize, Deserialize)]
struct Address {
    port: u16,
    token: String,
}

#[derive(Serialize, Deserialize)]
struct Call {
    token: String,
    invite: Option<String>,
}

/// Becomes the app of a profile, or hands the invite to the one that is. Blocks, at most for a few
/// [`PATIENCE`].
///
/// # Errors
/// The disk's or the loopback interface's; also an app that has the profile but does not answer.
pub(crate) fn claim(profile: &Path, invite: Option<&str>) -> io::Result<Claim> {
    let lock = File::create(profile.join("running.lock"))?;
    match lock.try_lock() {
        Ok(()) => {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let address = Address {
                port: listener.local_addr()?.port(),
                token: token()?,
            };
            replace(
                &profile.join("running.json"),
                &serde_json::to_vec(&address)?,
            )?;
            Ok(Claim::First(Instance {
                _lock: lock,
                listener,
                token: address.token,
            }))
        }
        Err(TryLockError::WouldBlock) => hand_over(profile, invite).map(|()| Claim::HandedOver),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

impl Instance {
    /// Calls `on_start` for every later start of the app, with its invite, from a thread of its own
    /// that lives as long as the app.
    pub(crate) fn listen(
        self,
        on_start: impl Fn(Option<String>) + Send + 'static,
    ) -> io::Result<()> {
        let thread = std::thread::Builder::new().name("instance".into());
        thread.spawn(move || {
            // The whole of it: a closure takes only the fields it names, and the lock would be free.
            let instance = self;
            for stream in instance.listener.incoming() {
                match stream.and_then(|stream| answer(stream, &instance.token)) {
                    Ok(invite) => on_start(invite),
                    Err(error) => tracing::debug!(%error, "no start of ours"),
                }
            }
        })?;
        Ok(())
    }
}

/// Reads what a later start says.
fn answer(mut stream: TcpStream, token: &str) -> io::Result<Option<String>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let call: Call = serde_json::from_str(&line(&stream)?)?;
    if call.token != token {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    writeln!(stream, "{DONE}")?;
    Ok(call.invite)
}

fn hand_over(profile: &Path, invite: Option<&str>) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match call(profile, invite) {
            Ok(()) => return Ok(()),
            // It may have the lock and not have said yet where it listens.
            Err(_) if Instant::now() < deadline => std::thread::sleep(RETRY),
            Err(error) => return Err(error),
        }
    }
}

fn call(profile: &Path, invite: Option<&str>) -> io::Result<()> {
    let address: Address = serde_json::from_slice(&fs::read(profile.join("running.json"))?)?;
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, address.port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let call = Call {
        token: address.token,
        invite: invite.map(str::to_owned),
    };
    writeln!(stream, "{}", serde_json::to_string(&call)?)?;
    if line(&stream)?.trim_end() == DONE {
        Ok(())
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

fn line(stream: &TcpStream) -> io::Result<String> {
    let mut line = String::new();
    BufReader::new(stream.take(MESSAGE_BYTES)).read_line(&mut line)?;
    Ok(line)
}

fn token() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn first(profile: &Path) -> Instance {
        match claim(profile, None).unwrap() {
            Claim::First(instance) => instance,
            Claim::HandedOver => panic!("the profile is free"),
        }
    }

    #[test]
    fn a_second_start_hands_its_invite_over_and_other_profiles_are_others() {
        let profile = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        let (started, starts) = mpsc::channel();
        let listen = move |invite| started.send(invite).unwrap();
        first(profile.path()).listen(listen).unwrap();
        let _other = first(other.path());
        for invite in [None, Some("visavis://join/K7MQ-2X9D-RTB4")] {
            let second = claim(profile.path(), invite).unwrap();
            assert!(matches!(second, Claim::HandedOver));
            let told = starts.recv_timeout(PATIENCE).unwrap();
            assert_eq!(told.as_deref(), invite);
        }
    }

    #[test]
    fn an_app_that_ended_frees_its_profile_whatever_it_left_behind() {
        let profile = tempfile::tempdir().unwrap();
        drop(first(profile.path()));
        assert!(profile.path().join("running.json").exists());
        first(profile.path());
    }

    #[test]
    fn nothing_counts_without_the_token() {
        let profile = tempfile::tempdir().unwrap();
        let (started, starts) = mpsc::channel();
        let instance = first(profile.path());
        let port = instance.listener.local_addr().unwrap().port();
        instance
            .listen(move |invite| started.send(invite).unwrap())
            .unwrap();
        for said in ["", "{}", r#"{"token":"00","invite":"x"}"#] {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            writeln!(stream, "{said}").unwrap();
            assert_ne!(line(&stream).unwrap_or_default().trim_end(), DONE);
        }
        assert!(starts.try_recv().is_err());
    }

    #[cfg(unix)]
    #[test]
    fn the_token_is_its_owners() {
        use std::os::unix::fs::PermissionsExt;
        let profile = tempfile::tempdir().unwrap();
        let _instance = first(profile.path());
        let file = fs::metadata(profile.path().join("running.json")).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
    }
}
