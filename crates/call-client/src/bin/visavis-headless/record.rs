//! `--record`: decoded pictures as NAME.y4m, of a shared screen as NAME-screen.y4m, decoded sound as
//! NAME.wav.
//!
//! A y4m file has one size, that of the first picture; pictures of other sizes are scaled to it.
//!
//! Two threads write; a slow disk costs pictures ([`PENDING_PICTURES`]) or sound
//! ([`PENDING_BLOCKS`]), which are counted, and never stops the call.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use call_media::audio::WavWriter;
use call_media::frame::I420Frame;
use call_media::video::scale::Scaler;
use call_media::video::y4m::Y4mWriter;
use call_protocol::{MediaSource, MemberId};

/// Pictures waiting for the disk: one second of 720p, 42 MB.
const PENDING_PICTURES: usize = 30;
/// Sound waiting for the disk, in blocks of 10 ms: 10 s of one member, 2 MB.
const PENDING_BLOCKS: usize = 1_000;
/// The rate written into the header of a y4m file; pictures are written as they come.
const HEADER_FPS: u32 = 30;
/// Longest file name without its ending, in characters.
const STEM_CHARS: usize = 48;

/// What came of a recording.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) files: Vec<String>,
    pub(crate) dropped_pictures: u64,
    pub(crate) dropped_sound_ms: u64,
    /// Files that could not be written to their end.
    pub(crate) failed: Vec<String>,
}

/// A running recording.
pub(crate) struct Recorder {
    stems: Mutex<Stems>,
    pictures: SyncSender<(String, I420Frame)>,
    sound: SyncSender<(String, Vec<f32>)>,
    dropped_pictures: AtomicU64,
    dropped_blocks: AtomicU64,
    threads: Vec<JoinHandle<Written>>,
}

/// Files written and files that failed.
type Written = (Vec<String>, Vec<String>);

impl Recorder {
    /// Records into `directory`, which is made if it is missing.
    ///
    /// # Errors
    /// The directory or the threads cannot be made.
    pub(crate) fn start(directory: &Path) -> std::io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let (pictures, picture_queue) = sync_channel(PENDING_PICTURES);
        let (sound, sound_queue) = sync_channel(PENDING_BLOCKS);
        let (for_pictures, for_sound) = (directory.to_owned(), directory.to_owned());
        let spawn = |name: &str, work: Box<dyn FnOnce() -> Written + Send>| {
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(work)
        };
        let threads = vec![
            spawn(
                "record-pictures",
                Box::new(move || {
                    write_all(&picture_queue, |stem| {
                        PictureFile::create(&for_pictures, stem)
                    })
                }),
            )?,
            spawn(
                "record-sound",
                Box::new(move || {
                    write_all(&sound_queue, |stem| SoundFile::create(&for_sound, stem))
                }),
            )?,
        ];
        Ok(Self {
            stems: Mutex::default(),
            pictures,
            sound,
            dropped_pictures: AtomicU64::new(0),
            dropped_blocks: AtomicU64::new(0),
            threads,
        })
    }

    /// Tells a member's name; what came of them before is not recorded, because it comes over other
    /// threads and there would be no name for its file.
    pub(crate) fn name(&self, member: MemberId, name: &str) {
        self.stems
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .name(member, name);
    }

    /// Records a picture. Never waits.
    pub(crate) fn picture(&self, member: MemberId, source: MediaSource, picture: &I420Frame) {
        let Some(mut stem) = self.stem(member) else {
            return;
        };
        if source == MediaSource::Screen {
            stem.push_str("-screen");
        }
        if self.pictures.try_send((stem, picture.clone())).is_err() {
            self.dropped_pictures.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Records 10 ms of sound. Never waits.
    pub(crate) fn sound(&self, member: MemberId, samples: &[f32]) {
        let Some(stem) = self.stem(member) else {
            return;
        };
        if self.sound.try_send((stem, samples.to_vec())).is_err() {
            self.dropped_blocks.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn stem(&self, member: MemberId) -> Option<String> {
        self.stems
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .of(member)
    }

    /// Waits until everything is written.
    pub(crate) fn finish(self) -> Recorded {
        let Self {
            pictures,
            sound,
            threads,
            dropped_pictures,
            dropped_blocks,
            ..
        } = self;
        drop((pictures, sound));
        let mut recorded = Recorded {
            dropped_pictures: dropped_pictures.into_inner(),
            dropped_sound_ms: dropped_blocks.into_inner() * 10,
            ..Recorded::default()
        };
        for thread in threads {
            let (files, failed) = thread.join().unwrap_or_default();
            recorded.files.extend(files);
            recorded.failed.extend(failed);
        }
        recorded
    }
}

/// A file of one member.
trait MediaFile<T> {
    fn write(&mut self, item: &T) -> bool;
    fn finish(self) -> bool;
    fn path(&self) -> String;
}

fn write_all<T, F: MediaFile<T>>(
    queue: &Receiver<(String, T)>,
    create: impl Fn(&str) -> F,
) -> Written {
    let mut files: BTreeMap<String, F> = BTreeMap::new();
    let mut broken = BTreeSet::new();
    for (stem, item) in queue {
        if broken.contains(&stem) {
            continue;
        }
        let file = files.entry(stem.clone()).or_insert_with(|| create(&stem));
        if !file.write(&item) {
            broken.insert(stem);
        }
    }
    let (mut written, mut failed) = Written::default();
    for (stem, file) in files {
        let path = file.path();
        if file.finish() && !broken.contains(&stem) {
            &mut written
        } else {
            &mut failed
        }
        .push(path);
    }
    (written, failed)
}

struct PictureFile {
    path: PathBuf,
    size: (u32, u32),
    scaler: Scaler,
    writer: Option<Y4mWriter<BufWriter<File>>>,
}

impl PictureFile {
    fn create(directory: &Path, stem: &str) -> Self {
        Self {
            path: directory.join(format!("{stem}.y4m")),
            size: (0, 0),
            scaler: Scaler::new(),
            writer: None,
        }
    }
}

impl MediaFile<I420Frame> for PictureFile {
    fn write(&mut self, picture: &I420Frame) -> bool {
        if self.writer.is_none() {
            // Large writes: pictures are megabytes.
            let file = File::create(&self.path).map(|file| BufWriter::with_capacity(1 << 20, file));
            let writer =
                file.and_then(|f| Y4mWriter::new(f, picture.width(), picture.height(), HEADER_FPS));
            self.writer = writer.ok();
            self.size = (picture.width(), picture.height());
        }
        let picture = self.scaler.resize(picture, self.size.0, self.size.1);
        self.writer
            .as_mut()
            .is_some_and(|writer| writer.write(&picture).is_ok())
    }

    fn finish(self) -> bool {
        self.writer.is_some_and(|mut writer| writer.flush().is_ok())
    }

    fn path(&self) -> String {
        self.path.display().to_string()
    }
}

struct SoundFile {
    path: PathBuf,
    writer: Option<WavWriter>,
}

impl SoundFile {
    fn create(directory: &Path, stem: &str) -> Self {
        let path = directory.join(format!("{stem}.wav"));
        let writer = WavWriter::create(&path).ok();
        Self { path, writer }
    }
}

impl MediaFile<Vec<f32>> for SoundFile {
    fn write(&mut self, samples: &Vec<f32>) -> bool {
        self.writer
            .as_mut()
            .is_some_and(|writer| writer.write(samples).is_ok())
    }

    fn finish(self) -> bool {
        self.writer.is_some_and(|writer| writer.finish().is_ok())
    }

    fn path(&self) -> String {
        self.path.display().to_string()
    }
}

/// The file names of members: their own where it is free, with their id otherwise.
#[derive(Debug, Default)]
struct Stems {
    by_member: BTreeMap<MemberId, String>,
    taken: BTreeSet<String>,
}

impl Stems {
    fn name(&mut self, member: MemberId, name: &str) {
        if self.by_member.contains_key(&member) {
            return;
        }
        let mut stem = file_stem(name);
        if !self.taken.insert(stem.to_lowercase()) {
            stem = format!("{stem}-{member}");
            self.taken.insert(stem.to_lowercase());
        }
        self.by_member.insert(member, stem);
    }

    fn of(&self, member: MemberId) -> Option<String> {
        self.by_member.get(&member).cloned()
    }
}

/// A member's name as the name of a file, on any system: whatever a name holds, the file stays in
/// its directory.
fn file_stem(name: &str) -> String {
    let safe = |c: char| {
        if c.is_alphanumeric() || c == '-' {
            c
        } else {
            '_'
        }
    };
    let stem: String = name.trim().chars().take(STEM_CHARS).map(safe).collect();
    let stem = stem.trim_matches('_');
    let upper = stem.to_uppercase();
    let device = ["CON", "PRN", "AUX", "NUL"].contains(&&*upper)
        || ((upper.starts_with("COM") || upper.starts_with("LPT")) && upper.chars().count() == 4);
    if stem.is_empty() || device {
        format!("member{stem}")
    } else {
        stem.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn names_are_safe_as_files() {
        let cases = [
            ("Anna Berg", "Anna_Berg"),
            ("../../etc/passwd", "etc_passwd"),
            ("C:\\x", "C__x"),
            ("", "member"),
            ("...", "member"),
            ("con", "membercon"),
            ("LPT1", "memberLPT1"),
            ("Zoë", "Zoë"),
            (".hidden", "hidden"),
        ];
        for (name, want) in cases {
            assert_eq!(file_stem(name), want, "{name}");
        }
        assert_eq!(file_stem(&"x".repeat(99)).len(), STEM_CHARS);
    }

    #[test]
    fn members_of_one_name_have_files_of_their_own() {
        let mut stems = Stems::default();
        stems.name(MemberId(1), "Bo");
        stems.name(MemberId(2), "bo");
        let got = [1, 2, 1, 9].map(|member| stems.of(MemberId(member)));
        let want = [Some("Bo"), Some("bo-2"), Some("Bo"), None];
        assert_eq!(got.each_ref().map(Option::as_deref), want);
    }

    #[test]
    fn media_ends_up_in_the_members_files() {
        let directory = tempfile::tempdir().unwrap();
        let recorder = Recorder::start(&directory.path().join("new")).unwrap();
        // Before there is a name.
        recorder.sound(MemberId(1), &[0.25; 480]);
        recorder.name(MemberId(1), "Ann");
        for scale in [1, 2, 1] {
            let picture = I420Frame::black(32 * scale, 16 * scale, Instant::now());
            recorder.picture(MemberId(1), MediaSource::Camera, &picture);
            recorder.picture(MemberId(1), MediaSource::Screen, &picture);
            recorder.sound(MemberId(1), &[0.25; 480]);
        }
        let recorded = recorder.finish();
        assert_eq!((recorded.files.len(), recorded.failed.len()), (3, 0));
        assert!(directory.path().join("new/Ann-screen.y4m").exists());
        assert_eq!(
            (recorded.dropped_pictures, recorded.dropped_sound_ms),
            (0, 0)
        );
        let wav = call_media::audio::read_wav(&directory.path().join("new/Ann.wav")).unwrap();
        assert_eq!(wav.samples.len(), 3 * 480);
        let y4m = std::fs::metadata(directory.path().join("new/Ann.y4m"))
            .unwrap()
            .len();
        let picture_bytes = 32 * 16 * 3 / 2;
        assert!((3 * picture_bytes..4 * picture_bytes).contains(&y4m));
    }
}
