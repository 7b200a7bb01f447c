//! Several file machines with model disks, joined by channels that lose, double and reorder, in virtual
//! time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use call_e2ee::SeedStream;
use call_protocol::channel::file::{
    Digest, FileEntry, FileSignal, GroupRange, OfferId, group_count,
};
use call_protocol::ui::{LinkView, TransferState, TransferView, UiCommand};
use call_protocol::{ErrorCode, MemberId};

use super::{Action, FileEvent, FileOp, FileToReceive, Files, GroupSet, VerifiedFile};
use crate::output::CallEvent;

/// Time the link takes for one group.
const GROUP_TIME: Duration = Duration::from_millis(20);
const DISK_TIME: Duration = Duration::from_millis(30);

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(super) fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

#[derive(Debug)]
enum Event {
    Signal {
        from: MemberId,
        to: MemberId,
        signal: FileSignal,
    },
    Disk {
        node: usize,
        run: u32,
        event: FileEvent,
    },
    Tick {
        node: usize,
        job: u64,
    },
    Data {
        from: MemberId,
        to: MemberId,
        epoch: u32,
        item: Item,
    },
    Joins {
        seen_by: usize,
        seat: MemberId,
    },
    Leaves {
        seen_by: usize,
        seat: MemberId,
    },
    Connects {
        pair: (usize, usize),
        at: usize,
        epoch: u32,
    },
}

#[derive(Clone, Copy, Debug)]
struct Item {
    offer: OfferId,
    file: u32,
    /// `None`: all chaining values.
    group: Option<u32>,
}

/// The link of a pair.
#[derive(Debug, Default)]
struct Link {
    is_down: bool,
    was_connected: bool,
    /// Counts its ends.
    epoch: u32,
    is_wanted: bool,
    connected: [bool; 2],
}

pub(super) struct Node {
    pub(super) files: Files,
    pub(super) seat: MemberId,
    name: &'static str,
    roster: BTreeSet<MemberId>,
    wanted: BTreeSet<MemberId>,
    pub(super) views: Vec<TransferView>,
    pub(super) views_seen: u32,
    pub(super) events: Vec<CallEvent>,
    pub(super) disk: Disk,
    run: u32,
    is_away: bool,
}

#[derive(Default)]
pub(super) struct Disk {
    prepared: BTreeMap<OfferId, Vec<FileEntry>>,
    jobs: BTreeMap<u64, Job>,
    /// Survives a restart.
    pub(super) saved: BTreeMap<OfferId, Saved>,
    active: BTreeMap<OfferId, Option<MemberId>>,
    pub(super) is_full: bool,
    /// Files that are whole and in their place: paths and hashes.
    pub(super) placed: Vec<(String, Digest)>,
    /// Groups that came although they were there.
    pub(super) wasted: u64,
    pub(super) taken: u64,
    pub(super) served: Vec<(OfferId, MemberId)>,
}

#[derive(Clone, Debug)]
pub(super) struct Saved {
    sender_name: String,
    files: Vec<(FileToReceive, GroupSet, bool, bool)>,
}

struct Job {
    offer: OfferId,
    to: MemberId,
    items: Vec<Item>,
}

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) nodes: Vec<Node>,
    queue: BTreeMap<(Instant, u64), Event>,
    count: u64,
    pub(super) dice: SeedStream,
    links: BTreeMap<(usize, usize), Link>,
    seats: u32,
    pub(super) loss_percent: usize,
    pub(super) double_percent: usize,
    /// Messages take up to this long, each for itself.
    pub(super) jitter_ms: usize,
    pub(super) corrupt_percent: usize,
    pub(super) sent: u64,
}

/// What a node shows of its transfers: the other end's seat, and how it is doing.
pub(super) fn states(node: &Node) -> Vec<TransferState> {
    node.views.iter().map(|view| view.state).collect()
}

pub(super) fn entry(path: &str) -> FileEntry {
    let name = path.trim_start_matches("/x/");
    let (_, size) = name.rsplit_once('#').unwrap_or((name, "0"));
    FileEntry {
        path: name.to_owned(),
        size_bytes: size.parse().unwrap(),
        root: Digest(*blake3::hash(name.as_bytes()).as_bytes()),
    }
}

impl World {
    /// Nodes with these names, all of whom see each other.
    pub(super) fn new(seed: [u8; 32], names: &[&'static str]) -> Self {
        let node = |name: &&'static str| Node {
            files: Files::default(),
            seat: MemberId(0),
            name,
            roster: BTreeSet::new(),
            wanted: BTreeSet::new(),
            views: Vec::new(),
            views_seen: 0,
            events: Vec::new(),
            disk: Disk::default(),
            run: 0,
            is_away: true,
        };
        let mut world = Self {
            now: Instant::now(),
            nodes: names.iter().map(node).collect(),
            queue: BTreeMap::new(),
            count: 0,
            dice: SeedStream::new(seed),
            links: BTreeMap::new(),
            seats: 0,
            loss_percent: 0,
            double_percent: 0,
            jitter_ms: 0,
            corrupt_percent: 0,
            sent: 0,
        };
        (0..names.len()).for_each(|node| world.take_seat(node, ms(0)));
        world.run(ms(100));
        world
    }

    pub(super) fn below(&mut self, count: usize) -> usize {
        u32::from_be_bytes(self.dice.draw()) as usize % count
    }

    fn chance(&mut self, percent: usize) -> bool {
        percent > 0 && self.below(100) < percent
    }

    fn at(&mut self, wait: Duration, event: Event) {
        self.count += 1;
        self.queue.insert((self.now + wait, self.count), event);
    }

    /// The node gets a new seat; nobody it knew is the same to it.
    pub(super) fn take_seat(&mut self, node: usize, old_lingers: Duration) {
        let old = self.nodes[node].seat;
        self.seats += 1;
        let seat = MemberId(self.seats);
        let was_there = !std::mem::replace(&mut self.nodes[node].is_away, false);
        self.nodes[node].seat = seat;
        let known = std::mem::take(&mut self.nodes[node].roster);
        for id in known {
            self.nodes[node].files.handle_left(self.now, id);
        }
        self.nodes[node].wanted.clear();
        for other in 0..self.nodes.len() {
            if other == node {
                continue;
            }
            self.end_link(node, other);
            if was_there {
                self.at(
                    old_lingers,
                    Event::Leaves {
                        seen_by: other,
                        seat: old,
                    },
                );
            }
            if !self.nodes[other].is_away {
                self.at(
                    ms(10),
                    Event::Joins {
                        seen_by: other,
                        seat,
                    },
                );
                let seat = self.nodes[other].seat;
                self.at(
                    ms(10),
                    Event::Joins {
                        seen_by: node,
                        seat,
                    },
                );
            }
        }
        self.nodes[node].files.handle_seat(seat, &[]);
        self.touch(node);
    }

    /// The node is gone, with all it knew but its disk.
    pub(super) fn crash(&mut self, node: usize, old_lingers: Duration) {
        let seat = self.nodes[node].seat;
        self.nodes[node].is_away = true;
        self.nodes[node].run += 1;
        self.nodes[node].files = Files::default();
        self.nodes[node].roster.clear();
        self.nodes[node].wanted.clear();
        self.nodes[node].views.clear();
        let disk = &mut self.nodes[node].disk;
        disk.jobs.clear();
        disk.prepared.clear();
        disk.active.clear();
        for other in (0..self.nodes.len()).filter(|it| *it != node) {
            self.end_link(node, other);
            self.at(
                old_lingers,
                Event::Leaves {
                    seen_by: other,
                    seat,
                },
            );
        }
    }

    /// It leaves the call in an orderly way.
    pub(super) fn leave(&mut self, node: usize) {
        self.nodes[node].files.end();
        self.drain(node);
        self.crash(node, ms(10));
    }

    fn pair(a: usize, b: usize) -> (usize, usize) {
        (a.min(b), a.max(b))
    }

    fn end_link(&mut self, a: usize, b: usize) {
        let link = self.links.entry(Self::pair(a, b)).or_default();
        link.epoch += 1;
        link.connected = [false; 2];
        link.is_wanted = false;
        link.was_connected = false;
    }

    pub(super) fn set_path(&mut self, a: usize, b: usize, is_up: bool) {
        let link = self.links.entry(Self::pair(a, b)).or_default();
        link.is_down = !is_up;
        if !is_up {
            link.epoch += 1;
            link.was_connected |= link.connected != [false; 2];
            link.connected = [false; 2];
        }
        link.is_wanted = false;
        self.touch(a);
        self.touch(b);
    }

    fn link_view(&self, node: usize, other: usize) -> Option<LinkView> {
        let link = self.links.get(&Self::pair(node, other))?;
        if !link.is_wanted {
            let is_wanted = self.is_link_wanted(node, other);
            let broken = if link.was_connected {
                LinkView::Reconnecting
            } else {
                LinkView::Connecting
            };
            return is_wanted.then_some(broken);
        }
        let is_connected = link.connected[usize::from(node > other)];
        Some(match () {
            () if is_connected => LinkView::Connected,
            () if link.was_connected => LinkView::Reconnecting,
            () => LinkView::Connecting,
        })
    }

    fn is_link_wanted(&self, a: usize, b: usize) -> bool {
        let (left, right) = (&self.nodes[a], &self.nodes[b]);
        left.wanted.contains(&right.seat) || right.wanted.contains(&left.seat)
    }

    fn align_links(&mut self) {
        for a in 0..self.nodes.len() {
            for b in a + 1..self.nodes.len() {
                let is_wanted = self.is_link_wanted(a, b);
                let link = self.links.entry((a, b)).or_default();
                if !is_wanted && link.is_wanted {
                    self.end_link(a, b);
                } else if is_wanted && !link.is_wanted && !link.is_down {
                    link.is_wanted = true;
                    let epoch = link.epoch;
                    for at in 0..2 {
                        let wait = ms(50 + self.below(300) as u64);
                        let pair = (a, b);
                        self.at(wait, Event::Connects { pair, at, epoch });
                    }
                }
            }
        }
    }

    pub(super) fn command(&mut self, node: usize, command: UiCommand) -> Result<(), ErrorCode> {
        let (now, id) = (self.now, self.dice.draw());
        let done = self.nodes[node].files.handle_command(now, command, || id);
        self.touch(node);
        done
    }

    pub(super) fn offer(&mut self, node: usize, to: Option<usize>, paths: &[&str]) -> OfferId {
        let to = to.map(|to| self.nodes[to].seat);
        let paths = paths.iter().map(|path| format!("/x/{path}")).collect();
        let known: Vec<_> = self.nodes[node].files.outgoing.keys().copied().collect();
        self.command(node, UiCommand::OfferFiles { to, paths })
            .unwrap();
        let mut all = self.nodes[node].files.outgoing.keys();
        *all.find(|offer| !known.contains(offer)).unwrap()
    }

    /// Everything the node was offered and did not answer.
    pub(super) fn accept_all(&mut self, node: usize) {
        for view in self.nodes[node].views.clone() {
            if view.state == TransferState::Asking {
                let (offer, member) = (view.offer, view.member.unwrap());
                let folder = None;
                let accept = UiCommand::AcceptFiles {
                    offer,
                    member,
                    folder,
                };
                // It may just have ended.
                let _ = self.command(node, accept);
            }
        }
    }

    pub(super) fn disk_event(&mut self, node: usize, event: FileEvent) {
        let run = self.nodes[node].run;
        self.at(DISK_TIME, Event::Disk { node, run, event });
    }

    /// Everybody is brought up to date with who is there and how links do.
    fn touch(&mut self, node: usize) {
        self.drain(node);
        self.align_links();
        for at in 0..self.nodes.len() {
            if self.nodes[at].is_away {
                continue;
            }
            let others: Vec<_> = (0..self.nodes.len()).filter(|it| *it != at).collect();
            let members: Vec<_> = self.nodes[at]
                .roster
                .iter()
                .map(|seat| {
                    let other = others.iter().find(|it| self.nodes[**it].seat == *seat);
                    let link = other.and_then(|other| self.link_view(at, *other));
                    let name = other.map_or("gone", |other| self.nodes[*other].name);
                    (*seat, name, link)
                })
                .collect();
            let now = self.now;
            self.nodes[at]
                .files
                .handle_members(now, members.into_iter());
            self.drain(at);
            let next = self.nodes[at].files.timeout(now);
            assert!(
                next.is_none_or(|next| next > now),
                "a timeout that is not served"
            );
        }
    }

    fn drain(&mut self, node: usize) {
        while let Some(action) = self.nodes[node].files.poll_action() {
            match action {
                Action::Send { to, signal } => self.send(node, to, signal),
                Action::Op(op) => self.operate(node, op),
                Action::Event(event) => self.nodes[node].events.push(event),
                Action::Link { member, wanted } => {
                    let known = &mut self.nodes[node].wanted;
                    let _ = match wanted {
                        true => known.insert(member),
                        false => known.remove(&member),
                    };
                }
            }
        }
        let node = &mut self.nodes[node];
        if node.files.take_changed() {
            node.views_seen += 1;
            node.views = node.files.views().to_vec();
        }
    }

    fn send(&mut self, node: usize, to: Option<MemberId>, signal: FileSignal) {
        assert!(signal.is_within_limits(), "{signal:?}");
        let from = self.nodes[node].seat;
        let to = match to {
            Some(to) => vec![to],
            None => self.nodes[node].roster.iter().copied().collect(),
        };
        for to in to {
            self.sent += 1;
            let copies = 1 + usize::from(self.chance(self.double_percent));
            for _ in 0..copies {
                let wait = ms(10 + self.below(self.jitter_ms + 1) as u64);
                if !self.chance(self.loss_percent) {
                    let signal = signal.clone();
                    self.at(wait, Event::Signal { from, to, signal });
                }
            }
        }
    }

    fn operate(&mut self, node: usize, op: FileOp) {
        match op {
            FileOp::Prepare { offer, paths } => {
                let files = paths.iter().map(|path| entry(path.to_str().unwrap()));
                let files: Vec<_> = files.collect();
                self.nodes[node].disk.prepared.insert(offer, files.clone());
                self.disk_event(node, FileEvent::Prepared { offer, files });
            }
            FileOp::Withdraw { offer } => {
                let disk = &mut self.nodes[node].disk;
                disk.prepared.remove(&offer);
                disk.jobs.retain(|_, job| job.offer != offer);
            }
            FileOp::Serve {
                offer,
                to,
                file,
                groups,
                hashes,
            } => {
                let disk = &mut self.nodes[node].disk;
                assert!(
                    disk.prepared.contains_key(&offer),
                    "served after the withdrawal"
                );
                disk.served.push((offer, to));
                disk.jobs
                    .retain(|_, job| (job.offer, job.to) != (offer, to));
                let item = |group| Item { offer, file, group };
                let groups = groups.iter().flat_map(|it| it.first..it.end().unwrap());
                let groups = groups.map(Some);
                let mut items: Vec<_> = hashes.then_some(None).into_iter().chain(groups).collect();
                items.reverse();
                let items = items.into_iter().map(item).collect();
                self.count += 1;
                let job = self.count;
                disk.jobs.insert(job, Job { offer, to, items });
                self.at(GROUP_TIME, Event::Tick { node, job });
            }
            FileOp::StopServing { offer, to } => {
                let jobs = &mut self.nodes[node].disk.jobs;
                jobs.retain(|_, job| (job.offer, job.to) != (offer, to));
            }
            FileOp::Receive {
                offer,
                sender_name,
                files,
                ..
            } => self.receive(node, offer, sender_name, files),
            FileOp::Attach { offer, from } => {
                let active = self.nodes[node].disk.active.get_mut(&offer);
                *active.expect("attached what is not received") = from;
            }
            FileOp::StopReceiving { offer, keep } => {
                let disk = &mut self.nodes[node].disk;
                disk.active.remove(&offer);
                if !keep {
                    disk.saved.remove(&offer);
                }
            }
            FileOp::FindUnfinished { .. } => {
                let saved = self.nodes[node].disk.saved.clone();
                for (offer, saved) in saved {
                    self.nodes[node].disk.active.insert(offer, None);
                    let event = FileEvent::Unfinished {
                        offer,
                        sender_name: saved.sender_name.clone(),
                        files: saved.files.iter().map(|it| it.0.clone()).collect(),
                        verified: saved.verified(),
                    };
                    self.disk_event(node, event);
                    self.place_whole(node, offer);
                }
            }
        }
    }

    fn receive(
        &mut self,
        node: usize,
        offer: OfferId,
        sender_name: String,
        files: Vec<FileToReceive>,
    ) {
        let disk = &mut self.nodes[node].disk;
        if disk.is_full {
            let code = ErrorCode::DiskFull;
            return self.disk_event(node, FileEvent::ReceiveFailed { offer, code });
        }
        disk.active.insert(offer, None);
        let file = |file: FileToReceive| {
            let verified = GroupSet::new(file.size_bytes);
            (file, verified, false, false)
        };
        let saved = disk.saved.entry(offer).or_insert_with(|| Saved {
            sender_name,
            files: files.into_iter().map(file).collect(),
        });
        let verified = saved.verified();
        self.disk_event(node, FileEvent::Ready { offer, verified });
        self.place_whole(node, offer);
    }

    fn place_whole(&mut self, node: usize, offer: OfferId) {
        let Some(saved) = self.nodes[node].disk.saved.get_mut(&offer) else {
            return;
        };
        let mut events = Vec::new();
        let mut placed = Vec::new();
        for (index, (file, verified, _, is_finished)) in (0..).zip(&mut saved.files) {
            if verified.is_whole() && !*is_finished {
                *is_finished = true;
                placed.push((file.parts.join("/"), file.root));
                events.push(FileEvent::FileFinished {
                    offer,
                    file: index,
                    path: format!("/downloads/{}", file.parts.join("/")).into(),
                });
            }
        }
        if saved.files.iter().all(|it| it.3) {
            self.nodes[node].disk.saved.remove(&offer);
        }
        self.nodes[node].disk.placed.extend(placed);
        events
            .into_iter()
            .for_each(|event| self.disk_event(node, event));
    }

    fn take_data(&mut self, node: usize, from: MemberId, item: Item) {
        let is_corrupt = self.chance(self.corrupt_percent);
        let disk = &mut self.nodes[node].disk;
        if disk.active.get(&item.offer) != Some(&Some(from)) {
            return;
        }
        let Some(saved) = disk.saved.get_mut(&item.offer) else {
            return;
        };
        let (offer, file) = (item.offer, item.file);
        let (_, verified, has_hashes, _) = &mut saved.files[file as usize];
        let event = match item.group {
            _ if is_corrupt => FileEvent::Corrupt { offer, file },
            None if *has_hashes => return,
            None => {
                *has_hashes = true;
                FileEvent::HashesTaken { offer, file }
            }
            Some(_) if !*has_hashes => return,
            Some(group) => {
                let range = GroupRange {
                    first: group,
                    count: 1,
                };
                if verified.contains(range) {
                    disk.wasted += 1;
                    return;
                }
                disk.taken += 1;
                verified.insert(range);
                let groups = vec![range];
                FileEvent::Verified {
                    offer,
                    file,
                    groups,
                }
            }
        };
        self.disk_event(node, event);
        self.place_whole(node, offer);
    }

    fn node_of(&self, seat: MemberId) -> Option<usize> {
        let is_it = |node: &Node| node.seat == seat && !node.is_away;
        self.nodes.iter().position(is_it)
    }

    fn tick(&mut self, node: usize, id: u64) {
        let Some(job) = self.nodes[node].disk.jobs.get_mut(&id) else {
            return;
        };
        let (offer, to, item) = (job.offer, job.to, job.items.pop());
        let other = self.node_of(to);
        let link = other.and_then(|other| self.link_view(node, other));
        if link != Some(LinkView::Connected) {
            self.nodes[node].disk.jobs.remove(&id);
            return;
        }
        let Some(item) = item else {
            self.nodes[node].disk.jobs.remove(&id);
            return self.disk_event(node, FileEvent::Served { offer, to });
        };
        let from = self.nodes[node].seat;
        let pair = Self::pair(node, other.unwrap());
        let epoch = self.links[&pair].epoch;
        let data = Event::Data {
            from,
            to,
            epoch,
            item,
        };
        self.at(ms(30), data);
        self.at(GROUP_TIME, Event::Tick { node, job: id });
    }

    fn handle(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Signal { from, to, signal } => {
                if let Some(node) = self.node_of(to) {
                    self.nodes[node].files.handle_signal(now, from, signal);
                    self.touch(node);
                }
            }
            Event::Disk { node, run, event } => {
                if self.nodes[node].run == run {
                    self.nodes[node].files.handle_event(now, event);
                    self.touch(node);
                }
            }
            Event::Tick { node, job } => self.tick(node, job),
            Event::Data {
                from,
                to,
                epoch,
                item,
            } => {
                let ends = (self.node_of(from), self.node_of(to));
                let (Some(sender), Some(node)) = ends else {
                    return;
                };
                if self.links[&Self::pair(sender, node)].epoch == epoch {
                    self.take_data(node, from, item);
                }
            }
            Event::Joins { seen_by, seat } => {
                if self.node_of(seat).is_some() && !self.nodes[seen_by].is_away {
                    self.nodes[seen_by].roster.insert(seat);
                    self.touch(seen_by);
                }
            }
            Event::Leaves { seen_by, seat } => {
                self.nodes[seen_by].roster.remove(&seat);
                self.nodes[seen_by].wanted.remove(&seat);
                self.touch(seen_by);
            }
            Event::Connects { pair, at, epoch } => {
                let link = self.links.entry(pair).or_default();
                if link.epoch == epoch && link.is_wanted {
                    link.connected[at] = true;
                    link.was_connected = true;
                    self.touch(pair.0);
                }
            }
        }
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let event = self.queue.first_key_value().map(|((at, _), _)| *at);
            let nodes = self.nodes.iter().filter(|node| !node.is_away);
            let timer = nodes.filter_map(|node| node.files.timeout(self.now)).min();
            let next = event.into_iter().chain(timer).min();
            let Some(next) = next.filter(|at| *at <= until) else {
                break;
            };
            self.now = self.now.max(next);
            if event == Some(next) {
                let (_, event) = self.queue.pop_first().unwrap();
                self.handle(event);
            } else {
                self.touch(0);
            }
        }
        self.now = until;
        self.touch(0);
    }

    pub(super) fn view(&self, node: usize, offer: OfferId) -> Option<&TransferView> {
        let offer = offer.to_string();
        self.nodes[node]
            .views
            .iter()
            .find(|view| view.offer == offer)
    }

    pub(super) fn state(&self, node: usize, offer: OfferId) -> Option<TransferState> {
        self.view(node, offer).map(|view| view.state)
    }
}

impl Saved {
    fn verified(&self) -> Vec<VerifiedFile> {
        let file =
            |(file, verified, has_hashes, is_finished): &(FileToReceive, GroupSet, bool, bool)| {
                let count = group_count(file.size_bytes);
                let missing = verified.missing(usize::MAX);
                let mut groups = Vec::new();
                let mut at = 0;
                for gap in missing.into_iter().chain([GroupRange {
                    first: count,
                    count: 0,
                }]) {
                    if gap.first > at {
                        groups.push(GroupRange {
                            first: at,
                            count: gap.first - at,
                        });
                    }
                    at = gap.first + gap.count;
                }
                VerifiedFile {
                    groups,
                    has_hashes: *has_hashes,
                    is_finished: *is_finished,
                }
            };
        self.files.iter().map(file).collect()
    }
}
