//! Whole transfers between two disks, over stand-ins for links and over real ones.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use call_core::{FileToReceive, VerifiedFile};
use call_protocol::channel::file::{FileEntry, GroupRange, group_count};
use call_protocol::limits::GROUP_BYTES;
use call_transport::{ChannelError, ChannelLabel, Link, LinkConfig, LinkEvent, LinkShape};

use super::source::KEPT_BLOCKS;
use super::*;

const OFFER: OfferId = OfferId([7; 16]);
const SENDER: MemberId = MemberId(1);
const RECEIVER: MemberId = MemberId(2);
/// Far beyond what any of these take, on the busiest machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Hands messages to another disk's queue.
struct Pipe {
    out: BulkSink,
    /// After so many messages it is gone.
    left: AtomicUsize,
}

impl BulkWay for Pipe {
    async fn writable(&self) {
        let _ = self.out.reserve().await;
    }

    fn send(&self, data: Bytes) -> Result<(), ChannelError> {
        if self.left.load(Ordering::Relaxed) == 0 {
            return Err(ChannelError::Closed);
        }
        let sent = self.out.try_send((SENDER, data));
        sent.map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ChannelError::Full,
            mpsc::error::TrySendError::Closed(_) => ChannelError::Closed,
        })?;
        self.left.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }
}

/// A disk, what it tells, and the way to it.
struct End<W> {
    disk: Disk<W>,
    told: mpsc::Receiver<FileEvent>,
    data: BulkSink,
}

impl<W: BulkWay> End<W> {
    fn start(downloads: Option<&Path>) -> Self {
        let (data, received) = mpsc::channel(DATA);
        let (events, told) = mpsc::channel(256);
        let disk = Disk::start(downloads.map(Path::to_owned), received, events);
        Self { disk, told, data }
    }

    async fn next(&mut self) -> FileEvent {
        let told = tokio::time::timeout(PATIENCE, self.told.recv()).await;
        told.expect("something is told in time").unwrap()
    }

    async fn find<T>(&mut self, mut wanted: impl FnMut(FileEvent) -> Option<T>) -> T {
        loop {
            let event = self.next().await;
            if let Some(found) = wanted(event) {
                return found;
            }
        }
    }

    async fn prepare(&mut self, paths: &[&Path]) -> Vec<FileEntry> {
        let paths = paths.iter().map(|path| path.to_path_buf()).collect();
        self.disk.handle(FileOp::Prepare {
            offer: OFFER,
            paths,
        });
        self.find(|event| match event {
            FileEvent::Prepared { files, .. } => Some(files),
            FileEvent::PrepareFailed { code, .. } => panic!("{code:?}"),
            _ => None,
        })
        .await
    }

    async fn receive(&mut self, files: &[FileEntry]) -> Result<Vec<VerifiedFile>, ErrorCode> {
        let to_receive = |file: &FileEntry| FileToReceive {
            parts: file.path.split('/').map(str::to_owned).collect(),
            size_bytes: file.size_bytes,
            root: file.root,
        };
        self.disk.handle(FileOp::Receive {
            offer: OFFER,
            folder: None,
            sender_name: "Bo".to_owned(),
            files: files.iter().map(to_receive).collect(),
        });
        let begun = self.find(|event| match event {
            FileEvent::Ready { verified, .. } => Some(Ok(verified)),
            FileEvent::ReceiveFailed { code, .. } => Some(Err(code)),
            _ => None,
        });
        let begun = begun.await;
        self.disk.handle(FileOp::Attach {
            offer: OFFER,
            from: Some(SENDER),
        });
        begun
    }

    /// Serves a whole file and waits until it is handed over, or the way is gone.
    fn serve(&mut self, file: u32, size_bytes: u64, to: MemberId) {
        let count = group_count(size_bytes);
        let all = GroupRange { first: 0, count };
        self.disk.handle(FileOp::Serve {
            offer: OFFER,
            to,
            file,
            groups: (count > 0).then_some(all).into_iter().collect(),
            hashes: count > 1,
        });
    }

    async fn served(&mut self) -> MemberId {
        self.find(|event| match event {
            FileEvent::Served { to, .. } => Some(to),
            FileEvent::SourceFailed { code, .. } => panic!("{code:?}"),
            _ => None,
        })
        .await
    }

    async fn finished(&mut self) -> PathBuf {
        self.find(|event| match event {
            FileEvent::FileFinished { path, .. } => Some(path),
            FileEvent::ReceiveFailed { code, .. } => panic!("{code:?}"),
            FileEvent::Corrupt { .. } => panic!("a group differs"),
            _ => None,
        })
        .await
    }
}

fn pipe(to: &BulkSink, left: usize) -> Arc<Pipe> {
    Arc::new(Pipe {
        out: to.clone(),
        left: AtomicUsize::new(left),
    })
}

fn noise(len: u64) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Everything in a folder, by relative path.
fn listing(folder: &Path) -> Vec<String> {
    let entries = walkdir::WalkDir::new(folder)
        .sort_by_file_name()
        .min_depth(1);
    let files = entries
        .into_iter()
        .map(Result::unwrap)
        .filter(|it| it.file_type().is_file());
    let name = |it: walkdir::DirEntry| it.path().strip_prefix(folder).unwrap().to_owned();
    files
        .map(|it| name(it).to_string_lossy().into_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_arrives_as_it_was() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let top = from.path().join("trip");
    fs::create_dir_all(top.join("day 1")).unwrap();
    let files = [
        ("day 1/large", noise(9 * GROUP_BYTES + 77)),
        ("day 1/two groups", noise(2 * GROUP_BYTES)),
        ("empty", Vec::new()),
        ("small", noise(5)),
    ];
    for (name, contents) in &files {
        fs::write(top.join(name), contents).unwrap();
    }
    fs::create_dir(to.path().join("trip")).unwrap();
    fs::write(to.path().join("trip/small"), "was here").unwrap();
    let mut sender = End::<Pipe>::start(None);
    let mut receiver = End::<Pipe>::start(Some(to.path()));
    let way = pipe(&receiver.data, usize::MAX);
    sender.disk.set_way(RECEIVER, Some(Arc::downgrade(&way)));
    let offered = sender.prepare(&[&top]).await;
    let verified = receiver.receive(&offered).await.unwrap();
    assert!(
        verified
            .iter()
            .all(|file| file.groups.is_empty() && !file.is_finished)
    );
    for (file, entry) in (0..).zip(&offered) {
        sender.serve(file, entry.size_bytes, RECEIVER);
        sender.served().await;
    }
    let mut paths = Vec::new();
    for _ in &files {
        paths.push(receiver.finished().await);
    }
    paths.sort();
    let want = ["day 1/large", "day 1/two groups", "empty", "small (2)"];
    let want = want.map(|name| to.path().join("trip").join(name));
    assert_eq!(paths, want);
    for (path, (_, contents)) in paths.iter().zip(&files) {
        assert_eq!(&fs::read(path).unwrap(), contents);
    }
    receiver.disk.finish().await;
    let there = listing(to.path());
    assert_eq!(
        there.len(),
        files.len() + 1,
        "nothing else is left: {there:?}"
    );
    assert_eq!(
        fs::read_to_string(to.path().join("trip/small")).unwrap(),
        "was here"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_file_goes_on_in_another_run() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = from.path().join("a.bin");
    let contents = noise(20 * GROUP_BYTES + 1);
    fs::write(&path, &contents).unwrap();
    let mut sender = End::<Pipe>::start(None);
    let mut receiver = End::<Pipe>::start(Some(to.path()));
    let offered = sender.prepare(&[&path]).await;
    receiver.receive(&offered).await.unwrap();
    // Chaining values, and the halves of seven groups and a half.
    let way = pipe(&receiver.data, 1 + 15);
    sender.disk.set_way(RECEIVER, Some(Arc::downgrade(&way)));
    sender.serve(0, offered[0].size_bytes, RECEIVER);
    let mut verified = 0;
    while verified < 7 {
        verified += receiver
            .find(|event| match event {
                FileEvent::Verified { groups, .. } => Some(groups[0].count),
                _ => None,
            })
            .await;
    }
    receiver.disk.finish().await;
    assert_eq!(listing(to.path()).len(), 3);

    let mut receiver = End::<Pipe>::start(Some(to.path()));
    receiver
        .disk
        .handle(FileOp::FindUnfinished { folder: None });
    let found = receiver.next().await;
    let FileEvent::Unfinished {
        offer,
        sender_name,
        files,
        verified,
    } = found
    else {
        panic!("{found:?}");
    };
    assert_eq!((offer, sender_name.as_str()), (OFFER, "Bo"));
    assert_eq!(files[0].root, offered[0].root);
    let there = GroupRange { first: 0, count: 7 };
    assert!(verified[0].has_hashes);
    assert_eq!(verified[0].groups, [there]);
    receiver.disk.handle(FileOp::Attach {
        offer: OFFER,
        from: Some(SENDER),
    });
    let way = pipe(&receiver.data, usize::MAX);
    sender.disk.set_way(RECEIVER, Some(Arc::downgrade(&way)));
    sender.disk.handle(FileOp::Serve {
        offer: OFFER,
        to: RECEIVER,
        file: 0,
        groups: vec![GroupRange {
            first: 7,
            count: 14,
        }],
        hashes: false,
    });
    let path = receiver.finished().await;
    assert_eq!(fs::read(path).unwrap(), contents);
    receiver.disk.finish().await;
    assert_eq!(listing(to.path()), ["a.bin"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_share_reads() {
    let from = tempfile::tempdir().unwrap();
    let path = from.path().join("a.bin");
    // Whoever is further behind than what is kept reads for themselves, and when each is served is
    // up to the machine.
    let groups = KEPT_BLOCKS as u64;
    fs::write(&path, noise(groups * GROUP_BYTES)).unwrap();
    let mut sender = End::<Pipe>::start(None);
    let offered = sender.prepare(&[&path]).await;
    let (data, mut arrived) = mpsc::channel(1_024);
    let way = pipe(&data, usize::MAX);
    let members = [2, 3, 4].map(MemberId);
    for member in members {
        sender.disk.set_way(member, Some(Arc::downgrade(&way)));
        sender.serve(0, offered[0].size_bytes, member);
    }
    for _ in members {
        sender.served().await;
    }
    assert_eq!(sender.disk.blocks.reads(), groups);
    let mut bytes = 0;
    while let Ok((_, message)) = arrived.try_recv() {
        bytes += message.len() as u64;
    }
    assert!(bytes > 3 * groups * GROUP_BYTES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_changed_or_went_is_told_and_nothing_of_it_sent() {
    for is_gone in [false, true] {
        let from = tempfile::tempdir().unwrap();
        let path = from.path().join("a.bin");
        fs::write(&path, noise(GROUP_BYTES)).unwrap();
        let mut sender = End::<Pipe>::start(None);
        sender.prepare(&[&path]).await;
        let (data, mut arrived) = mpsc::channel(16);
        let way = pipe(&data, usize::MAX);
        sender.disk.set_way(RECEIVER, Some(Arc::downgrade(&way)));
        let want = if is_gone {
            fs::remove_file(&path).unwrap();
            ErrorCode::FileNotFound
        } else {
            fs::write(&path, noise(GROUP_BYTES + 1)).unwrap();
            ErrorCode::FileChanged
        };
        sender.serve(0, GROUP_BYTES, RECEIVER);
        let told = sender.next().await;
        let failed = FileEvent::SourceFailed {
            offer: OFFER,
            code: want,
        };
        assert_eq!(told, failed);
        assert!(arrived.try_recv().is_err());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_reach_no_file_and_giving_up_removes_all() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = from.path().join("a.bin");
    fs::write(&path, noise(2 * GROUP_BYTES)).unwrap();
    let mut sender = End::<Pipe>::start(None);
    let mut receiver = End::<Pipe>::start(Some(to.path()));
    let offered = sender.prepare(&[&path]).await;
    receiver.receive(&offered).await.unwrap();
    let values = noise(64);
    let hashes = |values: &[u8]| {
        let message = call_protocol::channel::bulk::BulkMessage::Hashes {
            offer: OFFER,
            file: 0,
            first: 0,
            values: Bytes::copy_from_slice(values),
        };
        message.to_bytes()
    };
    receiver
        .data
        .send((MemberId(9), hashes(&values)))
        .await
        .unwrap();
    receiver
        .data
        .send((SENDER, Bytes::from_static(b"junk")))
        .await
        .unwrap();
    // Only these are looked at.
    receiver.data.send((SENDER, hashes(&values))).await.unwrap();
    let corrupt = FileEvent::Corrupt {
        offer: OFFER,
        file: 0,
    };
    assert_eq!(receiver.next().await, corrupt);
    assert_eq!(listing(to.path()).len(), 2, "state and growing file");
    receiver.disk.handle(FileOp::StopReceiving {
        offer: OFFER,
        keep: false,
    });
    receiver.disk.finish().await;
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), 0);
    assert!(receiver.told.try_recv().is_err());
}

/// Needs root and a kernel that lets it mount.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_or_protected_disk_is_told() {
    use std::process::Command;
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mount = |options: &str| {
        let mut command = Command::new("mount");
        command
            .args(["-t", "tmpfs", "-o", options, "visavis-test"])
            .arg(to.path());
        command.output().is_ok_and(|it| it.status.success())
    };
    if !mount("size=24m") {
        eprintln!("no file system of its own can be mounted here: full disks are not tested");
        return;
    }
    let path = from.path().join("a.bin");
    fs::write(&path, noise(6 * 1024 * 1024)).unwrap();
    let mut sender = End::<Pipe>::start(None);
    let offered = sender.prepare(&[&path]).await;
    let mut receiver = End::<Pipe>::start(Some(to.path()));
    assert!(receiver.receive(&offered).await.is_ok());
    // Somebody else takes the room meanwhile.
    fs::write(to.path().join("other"), vec![1; 22 * 1024 * 1024]).unwrap();
    let way = pipe(&receiver.data, usize::MAX);
    sender.disk.set_way(RECEIVER, Some(Arc::downgrade(&way)));
    sender.serve(0, offered[0].size_bytes, RECEIVER);
    let failed = |event| match event {
        FileEvent::ReceiveFailed { code, .. } => Some(code),
        _ => None,
    };
    let during = receiver.find(failed).await;
    receiver.disk.handle(FileOp::StopReceiving {
        offer: OFFER,
        keep: false,
    });
    let before = receiver.receive(&offered).await;
    fs::remove_file(to.path().join("other")).unwrap();
    let is_protected = mount("remount,ro");
    let protected = receiver.receive(&offered).await;
    receiver.disk.finish().await;
    let unmounted = Command::new("umount").arg(to.path()).output();
    assert!(unmounted.is_ok_and(|it| it.status.success()));
    assert!(is_protected);
    assert_eq!(during, ErrorCode::DiskFull);
    assert_eq!(before.err(), Some(ErrorCode::DiskFull));
    assert_eq!(protected.err(), Some(ErrorCode::FileDenied));
}

/// One end of a real link, with what it says passed to the other and contents to `bulk`.
async fn link_end(
    polite: bool,
    bulk: BulkSink,
) -> (Arc<Link>, mpsc::Receiver<LinkEvent>, BulkSink) {
    let (events, told) = mpsc::channel(256);
    let config = LinkConfig {
        polite,
        initiator: polite,
        include_loopback: true,
        shape: LinkShape::Data,
        ..LinkConfig::default()
    };
    let link = Link::open(config, events, mpsc::channel(1).0)
        .await
        .unwrap();
    (Arc::new(link), told, bulk)
}

async fn forward(mut told: mpsc::Receiver<LinkEvent>, other: Weak<Link>, bulk: BulkSink) {
    while let Some(event) = told.recv().await {
        match event {
            LinkEvent::Signal(signal) => {
                if let Some(other) = other.upgrade() {
                    other.handle_signal(signal);
                }
            }
            LinkEvent::ChannelMessage {
                channel: ChannelLabel::Bulk,
                data,
                ..
            } => {
                let _ = bulk.send((SENDER, data)).await;
            }
            _ => {}
        }
    }
}

/// The most memory this process ever had, in bytes.
fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_arrives_over_a_real_link() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = from.path().join("a.bin");
    let size = 64 * 1024 * 1024;
    fs::write(&path, noise(size)).unwrap();
    let mut sender = End::<Link>::start(None);
    let mut receiver = End::<Link>::start(Some(to.path()));
    let offered = sender.prepare(&[&path]).await;
    receiver.receive(&offered).await.unwrap();
    let (first, told, bulk) = link_end(true, sender.data.clone()).await;
    let (second, told_second, bulk_second) = link_end(false, receiver.data.clone()).await;
    tokio::spawn(forward(told, Arc::downgrade(&second), bulk));
    tokio::spawn(forward(told_second, Arc::downgrade(&first), bulk_second));
    sender.disk.set_way(RECEIVER, Some(Arc::downgrade(&first)));
    let before = peak_memory();
    sender.serve(0, size, RECEIVER);
    receiver
        .find(|event| matches!(event, FileEvent::HashesTaken { .. }).then_some(()))
        .await;
    let begun = Instant::now();
    let got = receiver.finished().await;
    let rate = size as f64 / begun.elapsed().as_secs_f64() / 1e6;
    let grown = peak_memory()
        .zip(before)
        .map(|(after, before)| (after - before) / 1_000_000);
    eprintln!("64 MiB over a link within one process: {rate:.0} MB/s, peak memory +{grown:?} MB");
    assert_eq!(fs::read(got).unwrap(), fs::read(&path).unwrap());
    // What waits anywhere is bounded, however fast each part is.
    assert!(grown.is_none_or(|grown_mb| grown_mb < 128));
    sender.disk.finish().await;
    receiver.disk.finish().await;
}
