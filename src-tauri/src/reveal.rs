//! Shows a file where it lies, in the system's file manager. Never opens it.

use std::path::Path;

/// Selects a file or folder in the file manager. Blocks until that has taken it over.
///
/// # Errors
/// There is no file manager, or it does not answer.
#[cfg(not(target_os = "linux"))]
pub(crate) fn reveal(path: &Path) -> Result<(), opener::OpenError> {
    opener::reveal(path)
}

/// Selects a file or folder in the file manager, or shows the folder it lies in, where the file
/// manager cannot select. Blocks until that has taken it over.
///
/// Over GTK's own message bus client: `opener` would bring another one and its runtime.
///
/// # Errors
/// There is no file manager, or it does not answer.
#[cfg(target_os = "linux")]
pub(crate) fn reveal(path: &Path) -> Result<(), opener::OpenError> {
    select(path).or_else(|error| {
        tracing::debug!(%error, "no file manager that selects");
        opener::open(path.parent().unwrap_or(path))
    })
}

/// Asks the file manager's [interface](https://www.freedesktop.org/wiki/Specifications/file-manager-interface/).
#[cfg(target_os = "linux")]
fn select(path: &Path) -> Result<(), gtk::glib::Error> {
    use gtk::gio::{BusType, Cancellable, DBusCallFlags, bus_get_sync};
    use gtk::glib::{ToVariant, filename_to_uri};

    /// A file manager that has to be started first needs seconds on a slow disk.
    const PATIENCE_MS: i32 = 10_000;
    let name = "org.freedesktop.FileManager1";
    let uris = vec![filename_to_uri(path, None)?.to_string()];
    bus_get_sync(BusType::Session, Cancellable::NONE)?.call_sync(
        Some(name),
        "/org/freedesktop/FileManager1",
        name,
        "ShowItems",
        // The second value would tell which window asked, on systems that want to know.
        Some(&(uris, "").to_variant()),
        None,
        DBusCallFlags::NONE,
        PATIENCE_MS,
        Cancellable::NONE,
    )?;
    Ok(())
}
