//! Files on their way to and from members: who offered what to whom, what was accepted, and what is
//! asked for next.
//!
//! ```text
//! commands, signals, disk, members, links ──► Files ──► signals, disk, links, events, views
//! ```
//!
//! * `send`: one offer of one's own; `receive`: one of somebody else's. `names`: what received files may
//!   be called. `groups`, `meter`, `label`: what both are made of. `tree`: the hash tree, for the disk.
//! * `io`: what is asked of the disk. Contents never come here.
//!
//! The receiver leads: it asks for what is missing, verifies what comes, and asks again after any
//! interruption. Every message may be lost, come twice or late: what matters is repeated until it is
//! answered, and who is told something about a transfer that is over answers with its end.
//!
//! Invariants:
//!
//! * nothing of a member's is taken, shown or kept beyond [`limits::PENDING_OFFERS`],
//!   [`limits::OFFERS_PER_MINUTE`] and [`OPEN`]; what is beyond is declined unseen;
//! * [`FLOWING`] offers are received at once, and as many served to each member; the others wait for
//!   their turn, those whose link stands first;
//! * a data link is wanted while something is to flow over it, and [`GRACE`] longer;
//! * views change four times a second at most, but for what the person does.
//!
//! Deliberately not here: reading, writing and hashing; links; sealing.

mod groups;
pub(crate) mod io;
mod label;
mod meter;
mod names;
mod receive;
mod send;
pub mod tree;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use call_protocol::channel::file::{Digest, FileSignal, OfferId};
use call_protocol::ui::{LinkView, TransferView, UiCommand};
use call_protocol::{ErrorCode, MemberId, limits};

#[cfg(test)]
use groups::GroupSet;
pub use io::{FileEvent, FileOp, FileToReceive, VerifiedFile};
use receive::Incoming;
use send::Outgoing;

use crate::output::CallEvent;
use crate::rate::{Bucket, Rate};

/// Offers received at once, and offers served to one member at once. One fills a link; more let small
/// ones pass a large one, and share what there is.
const FLOWING: usize = 4;
/// Offers of others that are not over, and offers of one's own. Each can have 200 KB.
const OPEN: usize = 64;
/// Offers kept in either direction, those that are over included: they are shown until dismissed, and
/// answer who did not hear of their end. Beyond it the oldest that are over are forgotten.
const KEPT: usize = 128;
/// Views shown; the oldest are left out.
const SHOWN: usize = 256;
/// How long a data link stays that nothing is to flow over. Longer keeps a connection open, shorter
/// sets one up for every file of several.
const GRACE: Duration = Duration::from_secs(15);
/// Shortest distance of two changes of what is shown.
const VIEW_EVERY: Duration = Duration::from_millis(250);
/// Shortest distance of two reports of progress.
const EVENT_EVERY: Duration = Duration::from_secs(1);
/// Offers taken from one member: see [`limits::OFFERS_PER_MINUTE`].
const OFFERS: Rate = Rate {
    burst: limits::OFFERS_PER_MINUTE as u32,
    refill: Duration::from_secs(60 / limits::OFFERS_PER_MINUTE as u64),
};

/// What is to be done, in order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Tell a member, or everybody.
    Send {
        to: Option<MemberId>,
        signal: FileSignal,
    },
    Op(FileOp),
    Event(CallEvent),
    /// Whether the data link to a member is wanted.
    Link {
        member: MemberId,
        wanted: bool,
    },
}

pub(crate) type Actions = VecDeque<Action>;

/// All transfers of a call.
#[derive(Debug, Default)]
pub(crate) struct Files {
    is_begun: bool,
    me: Option<MemberId>,
    peers: BTreeMap<MemberId, Peer>,
    outgoing: BTreeMap<OfferId, Outgoing>,
    incoming: BTreeMap<OfferId, Incoming>,
    /// Transfers so far.
    count: u64,
    actions: Actions,
    views: Vec<TransferView>,
    views_at: Option<Instant>,
    /// Whether views may be other ones than those shown.
    is_stale: bool,
    /// Whether views changed since somebody asked.
    is_changed: bool,
}

/// Somebody who is there.
#[derive(Debug)]
struct Peer {
    name: String,
    link: Option<LinkView>,
    is_link_wanted: bool,
    /// Since when nothing is to flow over it.
    idle_since: Option<Instant>,
    offers: Bucket,
}

impl Peer {
    fn is_connected(&self) -> bool {
        self.link == Some(LinkView::Connected)
    }
}

impl Files {
    /// One has this seat. The first time, looks for what earlier runs left in downloads and these
    /// folders.
    pub(crate) fn handle_seat(&mut self, me: MemberId, folders: &[PathBuf]) {
        self.me = Some(me);
        if std::mem::replace(&mut self.is_begun, true) {
            return;
        }
        let folders = folders.iter().cloned().map(Some);
        for folder in std::iter::once(None).chain(folders) {
            let op = FileOp::FindUnfinished { folder };
            self.actions.push_back(Action::Op(op));
        }
    }

    /// The call is over: own offers are withdrawn, what is unfinished stays on disk.
    pub(crate) fn end(&mut self) {
        self.outgoing
            .values_mut()
            .for_each(|it| it.release(&mut self.actions));
        self.incoming
            .values()
            .for_each(|it| it.keep(&mut self.actions));
        self.outgoing.clear();
        self.incoming.clear();
        self.peers.clear();
        self.is_stale = false;
        self.is_changed = !self.views.is_empty();
        self.views.clear();
    }

    /// These are there, each with their name and how the data link to them does. Then does all that is
    /// due.
    pub(crate) fn handle_members<'a>(
        &mut self,
        now: Instant,
        members: impl Iterator<Item = (MemberId, &'a str, Option<LinkView>)>,
    ) {
        let mut is_anybody_new = false;
        let mut gone: Vec<MemberId> = self.peers.keys().copied().collect();
        for (id, name, link) in members {
            gone.retain(|it| *it != id);
            let peer = self.peers.entry(id).or_insert_with(|| {
                is_anybody_new = true;
                Peer {
                    name: String::new(),
                    link: None,
                    is_link_wanted: false,
                    idle_since: None,
                    offers: Bucket::default(),
                }
            });
            if peer.name != name {
                name.clone_into(&mut peer.name);
            }
            self.is_stale |= peer.link != link;
            peer.link = link;
        }
        for id in gone {
            self.handle_left(now, id);
        }
        if is_anybody_new {
            self.incoming.values_mut().for_each(|it| it.look_again(now));
        }
        self.settle(now);
    }

    /// Somebody's seat is gone. A new one may follow under the same id before the next
    /// [`Self::handle_members`].
    pub(crate) fn handle_left(&mut self, now: Instant, id: MemberId) {
        if self.peers.remove(&id).is_none() {
            return;
        }
        self.is_stale = true;
        for outgoing in self.outgoing.values_mut() {
            outgoing.handle_left(id, &mut self.actions);
        }
        for incoming in self.incoming.values_mut() {
            if incoming.source() == Some(id) {
                incoming.handle_left(now, &mut self.actions);
            }
        }
    }

    /// The person wants something of files; `draw` gives a random id.
    ///
    /// # Errors
    /// [`ErrorCode::BadArgument`] for what names no offer; [`ErrorCode::BadState`] where the transfer
    /// is not there or not in a state for it, and for too many own offers;
    /// [`ErrorCode::ReceiverGone`] where nobody is there to offer to.
    pub(crate) fn handle_command(
        &mut self,
        now: Instant,
        command: UiCommand,
        draw: impl FnOnce() -> [u8; 16],
    ) -> Result<(), ErrorCode> {
        let out = &mut self.actions;
        match command {
            UiCommand::OfferFiles { to, paths } => self.offer(to, paths, OfferId(draw()))?,
            UiCommand::AcceptFiles {
                offer,
                member,
                folder,
            } => {
                let incoming = find(&mut self.incoming, &offer, Some(member))?;
                incoming.accept(folder.map(PathBuf::from), out)?;
            }
            UiCommand::DeclineFiles { offer, member } => {
                find(&mut self.incoming, &offer, Some(member))?.decline(now, out)?;
            }
            UiCommand::PauseTransfer {
                offer,
                member,
                paused,
            } => match find_own(&mut self.outgoing, &offer)? {
                Some(outgoing) => outgoing.pause(now, member, paused, out)?,
                None => find(&mut self.incoming, &offer, Some(member))?.pause(paused)?,
            },
            UiCommand::CancelTransfer { offer, member } => {
                match find_own(&mut self.outgoing, &offer)? {
                    Some(outgoing) => outgoing.cancel(member, out)?,
                    None => find(&mut self.incoming, &offer, member)?.cancel(now, out)?,
                }
            }
            UiCommand::DismissTransfer { offer, member } => {
                match find_own(&mut self.outgoing, &offer)? {
                    Some(outgoing) => outgoing.dismiss(member, out)?,
                    None => find(&mut self.incoming, &offer, member)?.dismiss()?,
                }
            }
            _ => return Err(ErrorCode::Internal),
        }
        self.settle(now);
        self.show(now);
        Ok(())
    }

    fn offer(
        &mut self,
        to: Option<MemberId>,
        paths: Vec<String>,
        offer: OfferId,
    ) -> Result<(), ErrorCode> {
        let is_within = (1..=limits::OFFER_FILES).contains(&paths.len());
        if !is_within || paths.iter().any(String::is_empty) {
            return Err(ErrorCode::BadArgument);
        }
        let to: Vec<MemberId> = match to {
            Some(member) => self
                .peers
                .get(&member)
                .map(|_| member)
                .into_iter()
                .collect(),
            None => self.peers.keys().copied().collect(),
        };
        if to.is_empty() {
            return Err(ErrorCode::ReceiverGone);
        }
        if self.outgoing.values().filter(|it| !it.is_over()).count() >= OPEN {
            return Err(ErrorCode::BadState);
        }
        let paths = paths.into_iter().map(PathBuf::from).collect();
        self.count += 1;
        let outgoing = Outgoing::prepare(offer, self.count, to, paths, &mut self.actions);
        self.outgoing.insert(offer, outgoing);
        forget_oldest(&mut self.outgoing, |it| (it.order, it.is_over()));
        Ok(())
    }

    /// A member says something.
    pub(crate) fn handle_signal(&mut self, now: Instant, from: MemberId, signal: FileSignal) {
        let Some(peer) = self.peers.get_mut(&from) else {
            return tracing::debug!(%from, "about files, of somebody who is not known");
        };
        self.is_stale = true;
        let sender = (from, peer.name.as_str());
        let out = &mut self.actions;
        let Some(offer) = signal.offer() else {
            if let FileSignal::Resume { proof } = signal {
                let mut own = self.outgoing.iter_mut();
                let named = own.find(|(offer, _)| resume_proof(**offer, from) == proof);
                if let Some((_, outgoing)) = named {
                    outgoing.handle_resume(now, from, sender.1, out);
                }
                self.settle(now);
            }
            return;
        };
        if let Some(outgoing) = self.outgoing.get_mut(&offer) {
            outgoing.handle_signal(now, from, signal, out);
        } else if let FileSignal::Offer { files, .. } = signal {
            if let Some(incoming) = self.incoming.get_mut(&offer) {
                incoming.handle_offer(now, sender, &files, out);
            } else if is_welcome(&self.incoming, from) && peer.offers.take(now, OFFERS, 1) {
                self.count += 1;
                let incoming = Incoming::new(now, offer, self.count, sender, &files);
                out.extend(incoming.event().map(Action::Event));
                self.incoming.insert(offer, incoming);
                forget_oldest(&mut self.incoming, |it| (it.order, it.is_ended()));
            } else {
                tracing::debug!(%from, "too many offers");
                let (to, signal) = (Some(from), FileSignal::Decline { offer });
                out.push_back(Action::Send { to, signal });
            }
        } else if let Some(incoming) = self.incoming.get_mut(&offer) {
            incoming.handle_signal(now, from, &signal, out);
        } else {
            tracing::debug!(%from, "about an offer that is not known");
        }
        self.settle(now);
    }

    /// The disk reports.
    pub(crate) fn handle_event(&mut self, now: Instant, event: FileEvent) {
        self.is_stale = true;
        let out = &mut self.actions;
        let offer = event.offer();
        if let FileEvent::Unfinished {
            sender_name,
            files,
            verified,
            ..
        } = event
        {
            self.count += 1;
            let order = self.count;
            // What is known already is being looked for, or there.
            self.incoming.entry(offer).or_insert_with(|| {
                Incoming::unfinished(now, offer, order, sender_name, files, &verified)
            });
            forget_oldest(&mut self.incoming, |it| (it.order, it.is_ended()));
        } else if let Some(outgoing) = self.outgoing.get_mut(&offer) {
            let peers = &self.peers;
            let name_of = |id| peers.get(&id).map(|peer: &Peer| peer.name.clone());
            outgoing.handle_event(now, event, name_of, out);
        } else if let Some(incoming) = self.incoming.get_mut(&offer) {
            incoming.handle_event(now, event, out);
        } else {
            tracing::debug!("the disk reports about an offer that is not known");
        }
        self.settle(now);
    }

    /// Does all that is due.
    pub(crate) fn settle(&mut self, now: Instant) {
        self.give_up(now);
        let flowing = self.flowing();
        for (offer, incoming) in &mut self.incoming {
            let may_flow = flowing.contains(offer);
            incoming.settle(now, self.me, may_flow, &mut self.actions);
        }
        for (id, peer) in &mut self.peers {
            let mut places = FLOWING;
            for outgoing in self.outgoing.values() {
                places = places.saturating_sub(usize::from(outgoing.is_serving(*id)));
            }
            for outgoing in self.outgoing.values_mut() {
                let is_serving = outgoing.is_serving(*id);
                let ways = (peer.is_connected(), peer.is_connected() && places > 0);
                outgoing.settle(now, *id, ways, &mut self.actions);
                if outgoing.is_serving(*id) && !is_serving {
                    places -= 1;
                }
            }
            let of_theirs = |it: &Incoming| it.source() == Some(*id) && it.wants_link();
            let is_needed = self.incoming.values().any(of_theirs)
                || self.outgoing.values().any(|it| it.wants_link(*id));
            let wanted = peer.is_wanted(now, is_needed);
            if std::mem::replace(&mut peer.is_link_wanted, wanted) != wanted {
                let member = *id;
                self.actions.push_back(Action::Link { member, wanted });
            }
        }
        if self.views_due(now).is_some_and(|at| at <= now) {
            self.show(now);
        }
    }

    /// What an earlier run left and nobody has stays on disk for the next one.
    fn give_up(&mut self, now: Instant) {
        let out = &mut self.actions;
        self.incoming.retain(|_, it| {
            let is_given_up = it.is_given_up(now);
            if is_given_up {
                it.keep(out);
            }
            !is_given_up
        });
    }

    /// The offers that may flow: those that do, then those whose link stands, then the oldest.
    fn flowing(&self) -> Vec<OfferId> {
        let is_connected = |it: &Incoming| {
            let peer = it.source().and_then(|source| self.peers.get(&source));
            peer.is_some_and(Peer::is_connected)
        };
        let may = |it: &Incoming| it.competes() && is_connected(it);
        let candidates = self.incoming.iter().filter(|(_, it)| may(it));
        let mut candidates: Vec<_> = candidates
            .map(|(offer, it)| (!it.is_flowing(), it.order, *offer))
            .collect();
        candidates.sort_unstable();
        candidates.truncate(FLOWING);
        candidates.into_iter().map(|(.., offer)| offer).collect()
    }

    /// The next thing to do; `None` when all is drained.
    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Self::settle`] is to be called unless something else happens before.
    pub(crate) fn timeout(&self, now: Instant) -> Option<Instant> {
        let incoming = self.incoming.values().filter_map(|it| it.timeout(now));
        let outgoing = self.outgoing.values().filter_map(|it| it.timeout(now));
        let idle = self
            .peers
            .values()
            .filter_map(|peer| Some(peer.idle_since? + GRACE));
        let all = incoming.chain(outgoing).chain(idle);
        all.chain(self.views_due(now)).min()
    }

    fn views_due(&self, now: Instant) -> Option<Instant> {
        let is_moving = self.is_stale
            || self.incoming.values().any(|it| it.is_moving(now))
            || self.outgoing.values().any(|it| it.is_moving(now));
        is_moving.then(|| self.views_at.map_or(now, |at| at + VIEW_EVERY))
    }

    fn show(&mut self, now: Instant) {
        self.views_at = Some(now);
        self.is_stale = false;
        let link = |id| self.peers.get(&id).and_then(|peer: &Peer| peer.link);
        let outgoing = self.outgoing.values();
        let outgoing = outgoing.flat_map(|it| {
            let views = it.views(now, link).into_iter();
            views.map(|view| (it.order, view))
        });
        let incoming = self.incoming.values().filter_map(|it| {
            let view = it.view(now, it.source().and_then(link))?;
            Some((it.order, view))
        });
        let mut views: Vec<_> = outgoing.chain(incoming).collect();
        views.sort_by_key(|(order, _)| *order);
        views.drain(..views.len().saturating_sub(SHOWN));
        let views: Vec<_> = views.into_iter().map(|(_, view)| view).collect();
        if self.views != views {
            self.views = views;
            self.is_changed = true;
        }
    }

    /// What the person sees, oldest first.
    pub(crate) fn views(&self) -> &[TransferView] {
        &self.views
    }

    /// Whether that changed since the last time this was asked.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.is_changed)
    }
}

impl Peer {
    fn is_wanted(&mut self, now: Instant, is_needed: bool) -> bool {
        if is_needed {
            self.idle_since = None;
        } else if self.is_link_wanted {
            let idle_since = *self.idle_since.get_or_insert(now);
            if now >= idle_since + GRACE {
                self.idle_since = None;
                return false;
            }
        }
        is_needed || self.is_link_wanted
    }
}

/// Whether another offer of a member is looked at.
fn is_welcome(incoming: &BTreeMap<OfferId, Incoming>, from: MemberId) -> bool {
    let open = incoming.values().filter(|it| !it.is_ended()).count();
    let is_pending = |it: &&Incoming| it.is_asking() && it.source() == Some(from);
    let pending = incoming.values().filter(is_pending).count();
    open < OPEN && pending < limits::PENDING_OFFERS
}

/// Forgets the oldest that are over, as far as there are too many.
fn forget_oldest<T>(all: &mut BTreeMap<OfferId, T>, order: impl Fn(&T) -> (u64, bool)) {
    if all.len() <= KEPT {
        return;
    }
    let over = all.iter().map(|(offer, it)| (order(it), *offer));
    let oldest = over.filter(|((_, is_over), _)| *is_over).min();
    if let Some((_, offer)) = oldest {
        all.remove(&offer);
    }
}

/// That this member knows the offer's id; see [`FileSignal::Resume`].
fn resume_proof(offer: OfferId, member: MemberId) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"visavis resume 1");
    hasher.update(&offer.0);
    hasher.update(&member.0.to_le_bytes());
    Digest(hasher.finalize().into())
}

fn parse(offer: &str) -> Result<OfferId, ErrorCode> {
    OfferId::try_from(offer.to_owned()).map_err(|_| ErrorCode::BadArgument)
}

fn find<'a>(
    incoming: &'a mut BTreeMap<OfferId, Incoming>,
    offer: &str,
    member: Option<MemberId>,
) -> Result<&'a mut Incoming, ErrorCode> {
    let found = incoming.get_mut(&parse(offer)?);
    found
        .filter(|it| it.is_named(member))
        .ok_or(ErrorCode::BadState)
}

fn find_own<'a>(
    outgoing: &'a mut BTreeMap<OfferId, Outgoing>,
    offer: &str,
) -> Result<Option<&'a mut Outgoing>, ErrorCode> {
    Ok(outgoing.get_mut(&parse(offer)?))
}

/// Whether a data link that was there does not carry anything.
fn is_broken(link: Option<LinkView>) -> bool {
    matches!(link, Some(LinkView::Reconnecting | LinkView::Failed))
}

/// What a member says went wrong, as far as it can with files.
fn peer_code(code: ErrorCode) -> ErrorCode {
    match code {
        ErrorCode::FileNotFound
        | ErrorCode::FileDenied
        | ErrorCode::DiskFull
        | ErrorCode::FileChanged
        | ErrorCode::FileCorrupt => code,
        _ => ErrorCode::FileFailed,
    }
}

#[cfg(test)]
#[path = "world_tests.rs"]
mod world;

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
