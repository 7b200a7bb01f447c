//! Keeps the screen on during a call.
//!
//! On Linux by whichever of two services of the session's bus there is; a desktop without either
//! goes dark as it always does. What was asked for ends with the connection it was asked on, so a crash
//! leaves nothing behind.

use std::sync::mpsc;

/// Asks for the screen to stay on, from a thread of its own: the bus may take its time.
pub(crate) struct Awake {
    wanted: mpsc::Sender<bool>,
}

impl Awake {
    /// Starts the thread, which lives as long as this.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(crate) fn start() -> std::io::Result<Self> {
        let (wanted, wishes) = mpsc::channel::<bool>();
        std::thread::Builder::new()
            .name("awake".into())
            .spawn(move || {
                let mut held = None;
                for wanted in wishes {
                    if !wanted {
                        held = None;
                    } else if held.is_none() {
                        held = system::keep_on();
                        tracing::debug!(works = held.is_some(), "the screen is to stay on");
                    }
                }
            })?;
        Ok(Self { wanted })
    }

    /// Whether the screen is to stay on from now on.
    pub(crate) fn set(&self, wanted: bool) {
        // The thread ends only with this.
        let _ = self.wanted.send(wanted);
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::collections::HashMap;
    use std::time::Duration;

    use dbus::arg::Variant;
    use dbus::blocking::Connection;

    /// A service that takes longer is as good as none.
    const PATIENCE: Duration = Duration::from_secs(2);
    /// The portal's flag for an idle session.
    const IDLE: u32 = 8;

    /// Holds the screen on until it is dropped, with the connection.
    pub(super) struct Held {
        _connection: Connection,
    }

    pub(super) fn keep_on() -> Option<Held> {
        let connection = Connection::new_session()
            .inspect_err(|error| tracing::debug!(%error, "no session bus"))
            .ok()?;
        screen_saver(&connection)
            .or_else(|_| portal(&connection))
            .inspect_err(|error| tracing::debug!(%error, "nothing keeps the screen on"))
            .ok()?;
        Some(Held {
            _connection: connection,
        })
    }

    /// freedesktop.org's idle inhibition service: KDE, GNOME, Xfce, Cinnamon, MATE.
    fn screen_saver(connection: &Connection) -> Result<(), dbus::Error> {
        let name = "org.freedesktop.ScreenSaver";
        let proxy = connection.with_proxy(name, "/org/freedesktop/ScreenSaver", PATIENCE);
        let (_cookie,): (u32,) = proxy.method_call(name, "Inhibit", ("Visavis", "Call"))?;
        Ok(())
    }

    /// The desktop portal: inside a sandbox.
    fn portal(connection: &Connection) -> Result<(), dbus::Error> {
        let proxy = connection.with_proxy(
            "org.freedesktop.portal.Desktop",
            "/org/freedesktop/portal/desktop",
            PATIENCE,
        );
        let reason = HashMap::from([("reason", Variant("Call"))]);
        let (_request,): (dbus::Path<'static>,) = proxy.method_call(
            "org.freedesktop.portal.Inhibit",
            "Inhibit",
            ("", IDLE, reason),
        )?;
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    pub(super) fn keep_on() -> Option<keepawake::KeepAwake> {
        keepawake::Builder::default()
            .display(true)
            .idle(true)
            .reason("Call")
            .app_name("Visavis")
            .create()
            .inspect_err(|error| tracing::debug!(%error, "nothing keeps the screen on"))
            .ok()
    }
}
