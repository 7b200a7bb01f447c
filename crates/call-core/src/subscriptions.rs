//! Which pictures the SFU shall forward: what is shown, told at a bounded rate and only on change.

use std::time::{Duration, Instant};

use call_protocol::ui::TileSize;
use call_protocol::wire::Subscription;
use call_protocol::{MediaSource, MemberId, limits};

/// Shortest time between two subscriptions. Lower makes a tile that appears sharp sooner; a window
/// that is being resized changes every frame.
const INTERVAL: Duration = Duration::from_millis(100);

/// What is wanted, and what the server knows of it.
#[derive(Debug)]
pub(crate) struct Subscriptions {
    wanted: Vec<Subscription>,
    /// Whether it was ever said what is shown.
    is_known: bool,
    limit: SizeLimit,
    /// `None`: the server may know anything.
    sent: Option<Vec<Subscription>>,
    at: Option<Instant>,
}

/// The largest picture that is asked for, whatever the tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SizeLimit {
    /// Width and height in pixels.
    pub(crate) most_px: (u32, u32),
}

impl Default for SizeLimit {
    /// None but the protocol's.
    fn default() -> Self {
        let most_px = (limits::PICTURE_PX, limits::PICTURE_PX);
        Self { most_px }
    }
}

impl SizeLimit {
    /// Shrinks a tile in proportion until it fits.
    fn apply(&self, tile: &Subscription) -> Subscription {
        let (most_width, most_height) = (u64::from(self.most_px.0), u64::from(self.most_px.1));
        let (width, height) = (u64::from(tile.width_px), u64::from(tile.height_px));
        // Of the two ratios most/side the smaller one counts.
        let (above, below) = if most_width * height < most_height * width {
            (most_width, width)
        } else {
            (most_height, height)
        };
        if above >= below {
            return *tile;
        }
        let side = |side: u64| u32::try_from((side * above / below).max(1)).unwrap_or(u32::MAX);
        Subscription {
            width_px: side(width),
            height_px: side(height),
            ..*tile
        }
    }
}

impl Default for Subscriptions {
    /// Nothing is wanted, and the server knows nothing.
    fn default() -> Self {
        Self {
            wanted: Vec::new(),
            is_known: false,
            limit: SizeLimit::default(),
            sent: Some(Vec::new()),
            at: None,
        }
    }
}

impl Subscriptions {
    /// Asks for pictures of at most this size from now on.
    pub(crate) fn limit(&mut self, limit: SizeLimit) {
        self.limit = limit;
    }

    /// How large the picture of a member is to be, in pixels; `None` while it is not known what is
    /// shown at all.
    pub(crate) fn size_of(&self, member: MemberId, source: MediaSource) -> Option<(u32, u32)> {
        let same = |tile: &&Subscription| (tile.member, tile.source) == (member, source);
        let tile = self
            .wanted
            .iter()
            .find(same)
            .map(|tile| self.limit.apply(tile));
        let size = tile.map_or((0, 0), |tile| (tile.width_px, tile.height_px));
        self.is_known.then_some(size)
    }

    /// What is shown from now on. Each picture counts once, at its largest; sound and pictures
    /// without an area are left out; beyond [`limits::SUBSCRIPTIONS`] the last are dropped.
    pub(crate) fn want(&mut self, tiles: &[TileSize]) {
        self.is_known = true;
        self.wanted.clear();
        for tile in tiles {
            let wanted = Subscription {
                member: tile.member,
                source: tile.source,
                width_px: tile.width_px.min(limits::PICTURE_PX),
                height_px: tile.height_px.min(limits::PICTURE_PX),
            };
            let same = |other: &&mut Subscription| {
                (other.member, other.source) == (wanted.member, wanted.source)
            };
            if wanted.source == MediaSource::Microphone
                || wanted.width_px.min(wanted.height_px) == 0
            {
                continue;
            }
            if let Some(known) = self.wanted.iter_mut().find(same) {
                known.width_px = known.width_px.max(wanted.width_px);
                known.height_px = known.height_px.max(wanted.height_px);
            } else if self.wanted.len() < limits::SUBSCRIPTIONS {
                self.wanted.push(wanted);
            }
        }
    }

    /// The server may not know what it was told.
    pub(crate) fn forget_sent(&mut self) {
        self.sent = None;
    }

    /// A new seat, of which the server knows nothing.
    pub(crate) fn renew(&mut self) {
        self.sent = Some(Vec::new());
    }

    /// What to tell now, of the members there are.
    pub(crate) fn poll(
        &mut self,
        now: Instant,
        is_there: impl Fn(MemberId) -> bool,
    ) -> Option<Vec<Subscription>> {
        let current = self.news(is_there)?;
        if self.at.is_some_and(|at| now < at + INTERVAL) {
            return None;
        }
        self.sent = Some(current.clone());
        self.at = Some(now);
        Some(current)
    }

    /// When [`Subscriptions::poll`] may tell what it could not at the last call.
    pub(crate) fn timeout(&self, is_there: impl Fn(MemberId) -> bool) -> Option<Instant> {
        self.news(is_there)?;
        Some(self.at? + INTERVAL)
    }

    fn news(&self, is_there: impl Fn(MemberId) -> bool) -> Option<Vec<Subscription>> {
        let known = self.wanted.iter().filter(|tile| is_there(tile.member));
        let current: Vec<_> = known.map(|tile| self.limit.apply(tile)).collect();
        (self.sent.as_ref() != Some(&current)).then_some(current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tile(member: u32, width_px: u32, height_px: u32) -> TileSize {
        TileSize {
            member: MemberId(member),
            source: MediaSource::Camera,
            width_px,
            height_px,
        }
    }

    fn sizes(tiles: &[Subscription]) -> Vec<(u32, u32, u32)> {
        let size = |tile: &Subscription| (tile.member.0, tile.width_px, tile.height_px);
        tiles.iter().map(size).collect()
    }

    fn everybody(_: MemberId) -> bool {
        true
    }

    #[test]
    fn a_window_being_resized_tells_the_first_and_the_last_size() {
        let start = Instant::now();
        let mut subscriptions = Subscriptions::default();
        let mut told = Vec::new();
        for ms in 0..=250 {
            let now = start + Duration::from_millis(ms);
            if ms < 150 {
                subscriptions.want(&[tile(1, 100 + ms as u32, 90)]);
            }
            let tiles = subscriptions.poll(now, everybody);
            told.extend(tiles.map(|tiles| (ms, sizes(&tiles))));
        }
        let want = [(0, 100), (100, 200), (200, 249)];
        assert_eq!(told, want.map(|(ms, width)| (ms, vec![(1, width, 90)])));
        assert_eq!(subscriptions.timeout(everybody), None);
    }

    #[test]
    fn only_pictures_of_members_count_once_and_bounded() {
        let now = Instant::now();
        let mut subscriptions = Subscriptions::default();
        let mut sound = tile(4, 10, 10);
        sound.source = MediaSource::Microphone;
        let hidden = tile(5, 0, 100);
        let huge = tile(6, u32::MAX, u32::MAX);
        let tiles = [
            tile(1, 10, 90),
            tile(1, 90, 10),
            tile(2, 9, 9),
            sound,
            hidden,
            huge,
        ];
        subscriptions.want(&tiles);
        let told = subscriptions.poll(now, |member| member != MemberId(2));
        let most = limits::PICTURE_PX;
        assert_eq!(sizes(&told.unwrap()), [(1, 90, 90), (6, most, most)]);
        let many: Vec<_> = (0..1_000).map(|n| tile(n, 8, 8)).collect();
        subscriptions.want(&many);
        let later = now + INTERVAL;
        let told = subscriptions.poll(later, everybody).unwrap();
        assert_eq!(told.len(), limits::SUBSCRIPTIONS);
    }

    #[test]
    fn a_limit_shrinks_what_is_asked_for_in_proportion() {
        let cases = [
            ((640, 360), (640, 360)),
            ((1_280, 720), (640, 360)),
            ((1_280, 360), (640, 180)),
            ((360, 720), (180, 360)),
            ((4_096, 1), (640, 1)),
            ((100, 100), (100, 100)),
        ];
        for ((width, height), want) in cases {
            let mut subscriptions = Subscriptions::default();
            assert_eq!(
                subscriptions.size_of(MemberId(1), MediaSource::Camera),
                None
            );
            let most_px = (640, 360);
            subscriptions.limit(SizeLimit { most_px });
            subscriptions.want(&[tile(1, width, height)]);
            let size = |id| subscriptions.size_of(MemberId(id), MediaSource::Camera);
            assert_eq!(size(1), Some(want), "{width}x{height}");
            assert_eq!(size(2), Some((0, 0)), "not shown");
            let told = subscriptions.poll(Instant::now(), everybody).unwrap();
            assert_eq!(sizes(&told), [(1, want.0, want.1)]);
        }
    }

    #[test]
    fn the_same_is_told_again_only_to_a_server_that_may_have_forgotten() {
        let mut now = Instant::now();
        let mut subscriptions = Subscriptions::default();
        assert_eq!(subscriptions.poll(now, everybody), None, "nothing is known");
        subscriptions.want(&[tile(1, 8, 8)]);
        assert!(subscriptions.poll(now, everybody).is_some());
        now += INTERVAL;
        subscriptions.want(&[tile(1, 8, 8)]);
        assert_eq!(subscriptions.poll(now, everybody), None);
        subscriptions.forget_sent();
        assert!(subscriptions.poll(now, everybody).is_some());
        subscriptions.want(&[]);
        assert_eq!(subscriptions.timeout(everybody), Some(now + INTERVAL));
        let told = subscriptions.poll(now + INTERVAL, everybody);
        assert_eq!(told, Some(Vec::new()), "nothing is wanted any more");
    }
}
