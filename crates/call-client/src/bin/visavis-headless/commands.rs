//! `--commands`: what the person would do, read line by line.
//!
//! A line that is too long, is no command or is refused is told as an error and skipped. The end of
//! the input ends nothing.

use std::io::{BufRead, Read};
use std::sync::Arc;

use call_client::Engine;
use call_protocol::ErrorCode;
use call_protocol::ui::UiCommand;

use crate::lines::{Line, Lines};
use crate::tiles::Tiles;

/// Longest line, in bytes: a command with every tile of the largest room takes under 16 KiB.
const LINE_BYTES: u64 = 64 * 1024;

/// Reads commands on a thread of its own until the input ends. The thread is never joined: nothing
/// interrupts a read.
pub(crate) fn start(engine: Engine, lines: Arc<Lines>, tiles: Arc<Tiles>) {
    let work = move || {
        read(std::io::stdin().lock(), |command| {
            let refused = command.and_then(|command| {
                if matches!(command, UiCommand::SetVisibleTiles { .. }) {
                    tiles.replace();
                }
                let result = engine.dispatch(command);
                result.map_err(|code| (code, "the command was refused".to_owned()))
            });
            if let Err((code, detail)) = refused {
                lines.print(&Line::Error { code, detail });
            }
        });
    };
    let thread = std::thread::Builder::new()
        .name("commands".to_owned())
        .spawn(work);
    if let Err(error) = thread {
        tracing::error!(%error, "no thread to read commands");
    }
}

fn read(mut input: impl BufRead, mut handle: impl FnMut(Result<UiCommand, (ErrorCode, String)>)) {
    let mut line = Vec::new();
    let mut is_rest = false;
    loop {
        line.clear();
        match input.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let is_whole = line.last() == Some(&b'\n') || (line.len() as u64) < LINE_BYTES;
        let was_rest = std::mem::replace(&mut is_rest, !is_whole);
        if was_rest {
            continue;
        }
        if !is_whole {
            let detail = "a command is too long".to_owned();
            handle(Err((ErrorCode::MessageTooLarge, detail)));
        } else if !line.trim_ascii().is_empty() {
            let command = serde_json::from_slice(&line);
            handle(command.map_err(|error| (ErrorCode::BadMessage, error.to_string())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_and_everything_else_is_told_and_skipped() {
        let long = "x".repeat(3 * LINE_BYTES as usize);
        let input = format!(
            "{{\"type\":\"set_muted\",\"muted\":true}}\n\n[]\n{long}\n{{\"type\":\"fly\"}}\n\
             {{\"type\":\"select_device\",\"kind\":\"camera\",\"id\":null}}"
        );
        let mut got = Vec::new();
        read(input.as_bytes(), |command| {
            got.push(command.map_err(|(code, _)| code));
        });
        let kind = call_protocol::ui::DeviceKind::Camera;
        let want = [
            Ok(UiCommand::SetMuted { muted: true }),
            Err(ErrorCode::BadMessage),
            Err(ErrorCode::MessageTooLarge),
            Err(ErrorCode::BadMessage),
            Ok(UiCommand::SelectDevice { kind, id: None }),
        ];
        assert_eq!(got, want);
    }
}
