//! What the person asks of the desktop rather than of the engine: choosing files and folders,
//! opening a link, showing a file, keeping a report, showing notices; and files dragged onto the window.
//!
//! Invariants: nothing opens by itself and no received file is ever opened, only shown where it
//! lies; only `http` and `https` links leave for the browser; at most one dialog is up.
//!
//! Deliberately not here: to whom files are offered (the UI asks), and reading or writing them
//! (`call-client`).

use std::future::Future;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use call_client::{Engine, UiSink, downloads_folder};
use call_protocol::ui::{NOTE_BYTES, UiCommand, UiEvent};
use call_protocol::{ErrorCode, limits};
use rfd::AsyncFileDialog;
use tauri::{DragDropEvent, Manager, WebviewWindow};
use url::Url;

use crate::App;
use crate::mini::Mini;
use crate::notice;
use crate::reveal::reveal;
use crate::tray::Names;

/// What a report is called unless the person says otherwise.
const REPORT_NAME: &str = "visavis-report.json";
/// Longest link opened, in bytes, as `UiCommand::OpenLink` says.
const LINK_BYTES: usize = 2_048;

/// The desktop as the window's commands use it.
pub(crate) struct Desk {
    engine: Engine,
    events: Arc<dyn UiSink>,
    dialog_is_up: Arc<AtomicBool>,
    mini: Mini,
}

impl Desk {
    pub(crate) fn new(engine: Engine, events: Arc<dyn UiSink>) -> Self {
        Self {
            engine,
            events,
            dialog_is_up: Arc::default(),
            mini: Mini::default(),
        }
    }

    /// Carries out a command that is the desktop's; hands back one that is the engine's. Never
    /// waits for a dialog. Must be called on the main thread: native dialogs are made there.
    pub(crate) fn take(
        &self,
        command: UiCommand,
        window: &WebviewWindow,
    ) -> Result<Option<UiCommand>, ErrorCode> {
        match command {
            UiCommand::PickFiles { to } => {
                self.pick(window, AsyncFileDialog::pick_files, move |chosen| {
                    let paths = chosen.iter().map(|file| text_of(file.path())).collect();
                    paths_or_failure(paths).map(|paths| UiCommand::OfferFiles { to, paths })
                });
            }
            UiCommand::PasteFiles => {
                let events = self.events.clone();
                tauri::async_runtime::spawn_blocking(move || {
                    let paths = copied_files();
                    if let Some(event) = dropped(paths.iter().map(|path| text_of(path)).collect()) {
                        events.event(event);
                    }
                });
            }
            UiCommand::PickFolder { offer, member } => {
                self.pick(window, pick_folder, move |chosen| {
                    let folder = Some(text_of(chosen.path()).ok_or(ErrorCode::FileFailed)?);
                    Ok(UiCommand::AcceptFiles {
                        offer,
                        member,
                        folder,
                    })
                });
            }
            UiCommand::OpenLink { url } => {
                let url = link(&url)?;
                self.in_background(move || opener::open_browser(url.as_str()));
            }
            UiCommand::RevealFile { path } => {
                let path = existing(&path)?;
                self.in_background(move || reveal(&path));
            }
            UiCommand::SaveReport { text } => {
                if text.len() > limits::REPORT_BYTES {
                    return Err(ErrorCode::BadArgument);
                }
                self.save(window, text);
            }
            UiCommand::Notify { title, body } => {
                bounded(&[&title, &body])?;
                notice::show(window, &title, &body);
            }
            UiCommand::NameTray {
                show,
                mute,
                unmute,
                leave,
            } => {
                bounded(&[&show, &mute, &unmute, &leave])?;
                let names = Names {
                    show,
                    mute,
                    unmute,
                    leave,
                };
                let app = window.app_handle();
                app.state::<App>().presence.name_tray(app, names);
            }
            UiCommand::AnswerClosing { close: true } => {
                window.destroy().map_err(|error| {
                    tracing::error!(%error, "the window does not close");
                    ErrorCode::Internal
                })?;
            }
            UiCommand::AnswerClosing { close: false } => {
                window.state::<App>().presence.handle_stay();
            }
            UiCommand::SetMini { on } => self.mini.set(window, on).map_err(|error| {
                tracing::warn!(%error, "the window does not change its size");
                ErrorCode::NotSupported
            })?,
            command => return Ok(Some(command)),
        }
        Ok(None)
    }

    /// Whether the window is small and above all others.
    pub(crate) fn is_mini(&self) -> bool {
        self.mini.is_on()
    }

    /// Tells the page of files dragged over the window or dropped on it.
    pub(crate) fn handle_drag(&self, event: &DragDropEvent) {
        for event in drag_events(event) {
            self.events.event(event);
        }
    }

    /// Shows a dialog unless one is up, and hands what was chosen to the engine.
    fn pick<T, F>(
        &self,
        window: &WebviewWindow,
        show: impl FnOnce(AsyncFileDialog) -> F,
        answer: impl FnOnce(T) -> Result<UiCommand, ErrorCode> + Send + 'static,
    ) where
        F: Future<Output = Option<T>> + Send + 'static,
        T: Send + 'static,
    {
        let engine = self.engine.clone();
        let act =
            |chosen| async move { answer(chosen).and_then(|command| engine.dispatch(command)) };
        self.ask(window, show, act);
    }

    /// Shows a dialog unless one is up, and writes the report to the file named in it.
    fn save(&self, window: &WebviewWindow, text: String) {
        let show = |dialog: AsyncFileDialog| {
            let dialog = dialog.set_file_name(REPORT_NAME);
            dialog.add_filter("JSON", &["json"]).save_file()
        };
        let act = |chosen: rfd::FileHandle| async move {
            let path = chosen.path().to_owned();
            let write = move || std::fs::write(path, text);
            let written = tauri::async_runtime::spawn_blocking(write).await;
            write_failure(written.ok()).map_or(Ok(()), Err)
        };
        self.ask(window, show, act);
    }

    /// Shows a dialog unless one is up, does something with what was chosen, and tells the page if
    /// that fails.
    fn ask<T, F, A>(
        &self,
        window: &WebviewWindow,
        show: impl FnOnce(AsyncFileDialog) -> F,
        act: impl FnOnce(T) -> A + Send + 'static,
    ) where
        F: Future<Output = Option<T>> + Send + 'static,
        T: Send,
        A: Future<Output = Result<(), ErrorCode>> + Send + 'static,
    {
        if self.dialog_is_up.swap(true, Ordering::AcqRel) {
            return;
        }
        let chosen = show(AsyncFileDialog::new().set_parent(window));
        let (events, dialog_is_up) = (self.events.clone(), self.dialog_is_up.clone());
        tauri::async_runtime::spawn(async move {
            let chosen = chosen.await;
            dialog_is_up.store(false, Ordering::Release);
            let Some(chosen) = chosen else { return };
            if let Err(code) = act(chosen).await {
                events.event(UiEvent::Failed { code });
            }
        });
    }

    /// Asks the system for something that may take its time.
    fn in_background(&self, act: impl FnOnce() -> Result<(), opener::OpenError> + Send + 'static) {
        let events = self.events.clone();
        tauri::async_runtime::spawn_blocking(move || {
            if let Err(error) = act() {
                tracing::warn!(%error, "the desktop did not open it");
                let code = ErrorCode::NotSupported;
                events.event(UiEvent::Failed { code });
            }
        });
    }
}

/// Whether the page's texts are as short as they have to be.
fn bounded(texts: &[&String]) -> Result<(), ErrorCode> {
    let fits = texts.iter().all(|text| text.len() <= NOTE_BYTES);
    fits.then_some(()).ok_or(ErrorCode::BadArgument)
}

/// What the page is told of a drag. Without files in it, it is nothing of ours.
fn drag_events(event: &DragDropEvent) -> Vec<UiEvent> {
    match event {
        DragDropEvent::Enter { paths, .. } if !paths.is_empty() => {
            vec![UiEvent::Dragging { over: true }]
        }
        DragDropEvent::Drop { paths, .. } => {
            let over = UiEvent::Dragging { over: false };
            // Addresses of the web come as paths too, relative ones.
            let paths = paths.iter().filter(|path| path.is_absolute());
            let dropped = dropped(paths.map(|path| text_of(path)).collect());
            [over].into_iter().chain(dropped).collect()
        }
        DragDropEvent::Leave => vec![UiEvent::Dragging { over: false }],
        _ => Vec::new(),
    }
}

/// What the clipboard holds of files.
fn copied_files() -> Vec<PathBuf> {
    let read = arboard::Clipboard::new().and_then(|mut board| board.get().file_list());
    read.unwrap_or_else(|error| {
        tracing::debug!(%error, "nothing pasted");
        Vec::new()
    })
}

/// What the page is told of files dropped or pasted; nothing of none.
fn dropped(paths: Vec<Option<String>>) -> Option<UiEvent> {
    match paths_or_failure(paths) {
        Ok(paths) if paths.is_empty() => None,
        Ok(paths) => Some(UiEvent::Dropped { paths }),
        Err(code) => Some(UiEvent::Failed { code }),
    }
}

/// A link that may be opened: `http` or `https`, with a host, without a user name or password,
/// which only serve to make one host look like another.
fn link(text: &str) -> Result<Url, ErrorCode> {
    let url = Url::parse(text).map_err(|_| ErrorCode::BadArgument)?;
    let fits = text.len() <= LINK_BYTES
        && matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none();
    fits.then_some(url).ok_or(ErrorCode::BadArgument)
}

/// Asks for a folder, from where files go otherwise: GTK's chooser begins with recent ones, which
/// cannot be saved to.
fn pick_folder(
    dialog: AsyncFileDialog,
) -> impl Future<Output = Option<rfd::FileHandle>> + Send + 'static {
    let downloads = downloads_folder();
    let first = downloads
        .iter()
        .flat_map(|folder| folder.ancestors())
        .find(|folder| folder.is_dir());
    match first {
        Some(folder) => dialog.set_directory(folder),
        None => dialog,
    }
    .pick_folder()
}

/// A path that can be shown.
fn existing(text: &str) -> Result<PathBuf, ErrorCode> {
    let path = PathBuf::from(text);
    if !path.is_absolute() {
        return Err(ErrorCode::BadArgument);
    }
    let there = path.try_exists().map_err(|_| ErrorCode::FileDenied)?;
    there.then_some(path).ok_or(ErrorCode::FileNotFound)
}

/// Paths cross to the page and the engine as text; the few that are none cannot be sent.
fn text_of(path: &Path) -> Option<String> {
    path.to_str().map(str::to_owned)
}

/// What of writing a file is to be told; `None` as outcome: it was not even tried to its end.
fn write_failure(outcome: Option<std::io::Result<()>>) -> Option<ErrorCode> {
    let Some(Err(error)) = outcome else {
        return outcome.is_none().then_some(ErrorCode::FileFailed);
    };
    tracing::warn!(kind = ?error.kind(), "the report was not written");
    Some(match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => ErrorCode::FileDenied,
        ErrorKind::StorageFull => ErrorCode::DiskFull,
        _ => ErrorCode::FileFailed,
    })
}

fn paths_or_failure(paths: Vec<Option<String>>) -> Result<Vec<String>, ErrorCode> {
    paths
        .into_iter()
        .map(|path| path.ok_or(ErrorCode::FileFailed))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_web_links_are_opened() {
        for good in [
            "https://example.org",
            "http://example.org:8080/a?b=c#d",
            "HTTPS://EXAMPLE.ORG/",
            "https://[::1]/",
        ] {
            assert!(link(good).is_ok(), "{good}");
        }
        let long = format!("https://example.org/{}", "x".repeat(LINK_BYTES));
        for bad in [
            "",
            "example.org",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "visavis://join/K7MQ-2X9D-RTB4",
            "https://bank.example@evil.example/",
            "https://:secret@evil.example/",
            "--help",
            long.as_str(),
        ] {
            assert_eq!(link(bad), Err(ErrorCode::BadArgument), "{bad}");
        }
    }

    #[test]
    fn what_is_opened_is_what_was_parsed() {
        // Control characters and spaces are gone or escaped before a browser's command line sees it.
        assert_eq!(
            link("https://example.org/a b\n--x").map(String::from),
            Ok("https://example.org/a%20b--x".to_owned())
        );
    }

    #[test]
    fn a_drag_begins_with_files_and_ends_with_their_paths_or_nothing() {
        let here = std::env::current_exe().unwrap();
        let file = here.to_str().unwrap().to_owned();
        let position = tauri::PhysicalPosition::new(0.0, 0.0);
        let enter = |paths: &[&Path]| DragDropEvent::Enter {
            paths: paths.iter().map(|path| path.to_path_buf()).collect(),
            position,
        };
        let dropped = |paths: &[&Path]| DragDropEvent::Drop {
            paths: paths.iter().map(|path| path.to_path_buf()).collect(),
            position,
        };
        let over = |over| UiEvent::Dragging { over };
        let link = Path::new("https://example.org/a.png");
        assert_eq!(drag_events(&enter(&[&here])), [over(true)]);
        assert_eq!(drag_events(&enter(&[])), []);
        assert_eq!(drag_events(&DragDropEvent::Over { position }), []);
        assert_eq!(drag_events(&DragDropEvent::Leave), [over(false)]);
        assert_eq!(drag_events(&dropped(&[link])), [over(false)]);
        assert_eq!(
            drag_events(&dropped(&[link, &here])),
            [over(false), UiEvent::Dropped { paths: vec![file] }]
        );
    }

    #[test]
    fn only_existing_absolute_paths_are_shown() {
        let here = std::env::current_exe().unwrap();
        assert_eq!(existing(here.to_str().unwrap()), Ok(here.clone()));
        let gone = here.with_file_name("not-there");
        assert_eq!(
            existing(gone.to_str().unwrap()),
            Err(ErrorCode::FileNotFound)
        );
        assert_eq!(existing("Cargo.toml"), Err(ErrorCode::BadArgument));
        assert_eq!(existing(""), Err(ErrorCode::BadArgument));
    }

    #[test]
    fn a_report_that_is_not_written_says_why() {
        let cases = [
            (Some(Ok(())), None),
            (None, Some(ErrorCode::FileFailed)),
            (
                Some(Err(ErrorKind::PermissionDenied.into())),
                Some(ErrorCode::FileDenied),
            ),
            (
                Some(Err(ErrorKind::StorageFull.into())),
                Some(ErrorCode::DiskFull),
            ),
            (
                Some(Err(ErrorKind::NotFound.into())),
                Some(ErrorCode::FileFailed),
            ),
        ];
        for (outcome, want) in cases {
            let what = format!("{outcome:?}");
            assert_eq!(write_failure(outcome), want, "{what}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_path_that_is_no_text_fails_aloud() {
        use std::os::unix::ffi::OsStrExt;
        let odd = Path::new(std::ffi::OsStr::from_bytes(b"/tmp/\xff"));
        let paths = vec![text_of(Path::new("/tmp/a")), text_of(odd)];
        assert_eq!(paths_or_failure(paths), Err(ErrorCode::FileFailed));
    }
}
