//! `docs/benchmarks.md`: one section per benchmark; each command rewrites its own.

const HEAD: &str =
    "# Benchmarks\n\nEvery section is written by the command it names. Do not edit by hand.\n";

/// Which section, in the order of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Media,
    Sfu,
    Files,
    Ui,
}

const PARTS: [Part; 4] = [Part::Media, Part::Sfu, Part::Files, Part::Ui];

impl Part {
    fn title(self) -> &'static str {
        match self {
            Self::Media => "## Engine against bare codecs",
            Self::Sfu => "## Forwarding",
            Self::Files => "## Files",
            Self::Ui => "## Windows",
        }
    }

    fn explanation(self) -> &'static str {
        match self {
            Self::Media => {
                "Both sides encode and decode the same pictures (the test pattern with fixed detail and sensor noise, 1280×720 at 30 per second, 1.2 Mbit/s) and the same sound in the same run. *Bare* calls libvpx and libopus directly with the engine's settings. *Engine* is everything between pictures and packets and back: pacing and scaling, encoder, packetizer, assembler, decoder and copy of the picture; for sound encoder, jitter buffer, decoder and mixer. Voice processing, capture, encryption and transport are not in it. Figures are processor time of all threads, the smallest of four alternating rounds of four seconds of call."
            }
            Self::Sfu => {
                "Three servers under the same load in the same run, each a process on one core, the load on another: `visavis-server` (one media thread), Janus as the distribution has it (videoroom plugin, everything but plugin, transport, port range and interface at its defaults), and a *bare loop* that only does what cannot be left out with the same packets: receive batches, open, copy and seal per receiver (AES-128-GCM), send runs coalesced and many per call. Packets have some 1200 bytes and come in frames of five; publishers send one video stream, members see every stream but their own. 50 members are as many as a room takes, hence 49 receivers. A packet counts when it arrived, by what its payload says; *lost* is what was sent, times receivers, and did not, in the worst round. Our links also estimate each receiver's bandwidth and pace, which Janus' do not. Processor time is all the process spent, that of the kernel on its behalf included; the median of three alternating rounds of eight seconds."
            }
            Self::Ui => {
                "A window of 1280×800 on an X display of its own (Xvfb, so everything is drawn by the processor), in a call, one after the other in the same run. *visavis* is the app with its WebKitGTK, the others are `visavis-headless` behind a server; it captures and encodes 1280×720 at 30 pictures a second, in three layers where there are nine people. *chromium* is a Chromium window that shows the same number of pictures of the same size from one `RTCPeerConnection`; it encodes its camera, of the same size, once. Processor time is that of all processes of the window, but for the X server's, over 20 s; memory is proportional set size; a picture counts as drawn where the page was told to present it. Below, a window of 49 synthetic members in a headless Chromium and in a WebKitGTK of its own: from a key or a click until the page's work for the next frame is done, until Chromium says that it is on the screen, and until WebKitGTK asks for the frame after."
            }
            Self::Files => {
                "Two processes each, in the same run: two `visavis-headless` in a mesh, and two ends of one data channel of libwebrtc (npm package `@roamhq/wrtc`), libdatachannel (npm package `node-datachannel`) and Chromium, each at its defaults with the message size that serves it best on loopback (64 KiB for wrtc, 256 KiB for the others) and never fewer than 4 MiB buffered. Ours goes from a file to a file, sealed once more inside DTLS, its hash made by the sender and checked by the receiver; the others send zeros from memory and keep nothing. Processor time is that of each end's processes from the offer to the last byte (ours: to the file in its place), that of the kernel on their behalf included; memory is proportional set size. The links below are two network namespaces with an emulated link between them: 100 Mbit/s, a queue of 50 ms, half the delay and independent random loss each way. Goodput is what the receiver got from two to ten seconds after its first byte, bytes of the file only."
            }
        }
    }
}

/// What a command found.
pub(super) struct Section<'a> {
    /// The command that writes it.
    pub(super) command: String,
    /// Cargo's profile.
    pub(super) profile: &'a str,
    pub(super) machine: String,
    /// Markdown.
    pub(super) tables: &'a str,
}

/// The document with one section replaced and the others kept.
pub(super) fn with(former: &str, part: Part, section: &Section<'_>) -> String {
    let mut text = HEAD.to_owned();
    for known in PARTS {
        let body = if known == part {
            format!(
                "\nWritten by `{}` ({} profile). Machine: {}.\n\n{}\n\n{}\n",
                section.command,
                section.profile,
                section.machine,
                known.explanation(),
                section.tables
            )
        } else {
            match body_of(former, known) {
                Some(body) => body.to_owned(),
                None => continue,
            }
        };
        text.push_str(&format!("\n{}\n", known.title()));
        text.push_str(&body);
    }
    text
}

/// A document with what stands between `<!-- measured: PLACE -->` and `<!-- end: PLACE -->` replaced;
/// `None` where there is no such place.
pub(super) fn between(former: &str, place: &str, text: &str) -> Option<String> {
    let begin = format!("<!-- measured: {place} -->\n");
    let end = format!("\n<!-- end: {place} -->");
    let (before, rest) = former.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}{text}{end}{after}"))
}

/// Everything below a section's title.
fn body_of(text: &str, part: Part) -> Option<&str> {
    let title = format!("{}\n", part.title());
    let start = text.find(&title)? + title.len();
    let body = &text[start..];
    let end = body.find("\n## ").unwrap_or(body.len());
    Some(&body[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(tables: &str) -> Section<'_> {
        Section {
            command: "cargo xtask bench".into(),
            profile: "dev",
            machine: "a machine".into(),
            tables,
        }
    }

    #[test]
    fn a_place_is_filled_anew() {
        let text = "a\n<!-- measured: b -->\nold\n<!-- end: b -->\nc\n";
        let want = "a\n<!-- measured: b -->\nnew\n<!-- end: b -->\nc\n";
        assert_eq!(between(text, "b", "new").as_deref(), Some(want));
        assert_eq!(between(text, "d", "new"), None);
    }

    #[test]
    fn each_command_rewrites_its_own_section() {
        let media = with("", Part::Media, &section("| a |"));
        assert!(media.contains("`cargo xtask bench` (dev profile)"));
        assert!(media.contains("a machine") && media.ends_with("| a |\n"));
        let both = with(&media, Part::Sfu, &section("| b |"));
        assert!(both.starts_with(&media) && both.ends_with("| b |\n"));
        let again = with(&both, Part::Media, &section("| c |"));
        assert!(again.contains("| c |") && again.contains("| b |") && !again.contains("| a |"));
        assert_eq!(with(&again, Part::Media, &section("| a |")), both);
        assert_eq!(with(&both, Part::Sfu, &section("| b |")), both);
    }
}
