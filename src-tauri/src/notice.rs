//! Tells the person through the desktop what happens while they look elsewhere. The words are the
//! page's; pressing a notice shows the window.

use tauri::WebviewWindow;

/// Characters shown of each text; desktops cut off what is longer.
const SHOWN_CHARS: usize = 200;

/// Shows a notice unless the window has the focus. Must be called on the main thread; never waits.
pub(crate) fn show(window: &WebviewWindow, title: &str, body: &str) {
    if window.is_focused().unwrap_or(false) {
        return;
    }
    let mut notice = notify_rust::Notification::new();
    notice
        .appname("Visavis")
        .summary(&plain(title))
        .body(&plain(body));
    #[cfg(target_os = "linux")]
    // The default action is the notice itself and shows no button.
    notice.icon("visavis").action("default", "Visavis");
    let window = window.clone();
    tauri::async_runtime::spawn_blocking(move || match notice.show() {
        #[cfg(target_os = "linux")]
        Ok(shown) => shown.wait_for_action(|action| {
            if action == "default" {
                raise(&window);
            }
        }),
        #[cfg(not(target_os = "linux"))]
        Ok(_) => drop(window),
        Err(error) => tracing::debug!(%error, "the desktop shows no notices"),
    });
}

/// Brings the window before the person.
pub(crate) fn raise(window: &WebviewWindow) {
    let raised = window
        .unminimize()
        .and_then(|()| window.show())
        .and_then(|()| window.set_focus());
    if let Err(error) = raised {
        tracing::debug!(%error, "the window does not come forward");
    }
}

/// Of what others wrote nothing is to be markup, which some desktops read in notices.
fn plain(text: &str) -> String {
    let shown = text.chars().take(SHOWN_CHARS);
    let shown = shown.map(|c| if c.is_control() { ' ' } else { c });
    if cfg!(target_os = "linux") {
        shown.fold(String::new(), |mut plain, c| {
            match c {
                '&' => plain.push_str("&amp;"),
                '<' => plain.push_str("&lt;"),
                '>' => plain.push_str("&gt;"),
                c => plain.push(c),
            }
            plain
        })
    } else {
        shown.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn what_others_write_is_no_markup() {
        assert_eq!(
            plain("<a href=\"x\">Ada & Ben</a>\n"),
            "&lt;a href=\"x\"&gt;Ada &amp; Ben&lt;/a&gt; "
        );
        assert_eq!(plain(&"x".repeat(999)).len(), SHOWN_CHARS);
    }
}
