//! `--tile`: whose pictures are shown, and how large. What the app's window says by its layout.
//!
//! Tiles follow the members as they come and go, until a command sets others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use call_client::Engine;
use call_core::CallEvent;
use call_protocol::ui::{TileSize, UiCommand};
use call_protocol::{MediaSource, MemberId};

use crate::args::{Tile, tile_size};

/// See the [module documentation](self).
pub(crate) struct Tiles {
    sizes: Vec<Tile>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    engine: Option<Engine>,
    names: BTreeMap<MemberId, String>,
    sharing: BTreeSet<MemberId>,
    is_replaced: bool,
}

impl Tiles {
    pub(crate) fn new(sizes: Vec<Tile>) -> Self {
        Self {
            sizes,
            state: Mutex::default(),
        }
    }

    /// Says whom to tell. Members who came before are told now.
    pub(crate) fn start(&self, engine: Engine) {
        self.change(|state| state.engine = Some(engine));
    }

    /// A command says what is shown from now on.
    pub(crate) fn replace(&self) {
        self.change(|state| state.is_replaced = true);
    }

    /// Follows the members. Never waits.
    pub(crate) fn handle(&self, event: &CallEvent) {
        match event {
            CallEvent::MemberJoined { member, name } => {
                self.change(|state| drop(state.names.insert(*member, name.clone())));
            }
            CallEvent::MemberLeft { member, .. } => {
                self.change(|state| {
                    state.names.remove(member);
                    state.sharing.remove(member);
                });
            }
            CallEvent::Sharing { member, on: true } => {
                self.change(|state| {
                    state.sharing.insert(*member);
                });
            }
            CallEvent::Sharing { member, on: false } => {
                self.change(|state| {
                    state.sharing.remove(member);
                });
            }
            CallEvent::Joined { .. } => self.change(|state| {
                state.names.clear();
                state.sharing.clear();
            }),
            // A handle kept here would keep the engine.
            CallEvent::Left { .. } => self.change(|state| state.engine = None),
            _ => {}
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        let Some(engine) = state.engine.as_ref().filter(|_| !state.is_replaced) else {
            return;
        };
        let tiles = tiles(&self.sizes, &state);
        if let Err(code) = engine.dispatch(UiCommand::SetVisibleTiles { tiles }) {
            tracing::debug!(?code, "tiles not set");
        }
    }
}

fn tiles(sizes: &[Tile], state: &State) -> Vec<TileSize> {
    let tile = |(member, name): (&MemberId, &String)| {
        let (width_px, height_px) = tile_size(sizes, name)?;
        let of = |source| TileSize {
            member: *member,
            source,
            width_px,
            height_px,
        };
        let is_sharing = state.sharing.contains(member);
        let screen = is_sharing.then(|| of(MediaSource::Screen));
        Some([of(MediaSource::Camera)].into_iter().chain(screen))
    };
    state.names.iter().filter_map(tile).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_there_is_shown_unless_told_otherwise() {
        let all = Tiles::new(vec![Tile {
            name: Some("Cy".to_owned()),
            size: None,
        }]);
        for (id, name) in [(2, "Bo"), (3, "Cy"), (4, "Di")] {
            let (member, name) = (MemberId(id), name.to_owned());
            all.handle(&CallEvent::MemberJoined { member, name });
        }
        let (member, name) = (MemberId(4), "Di".to_owned());
        all.handle(&CallEvent::MemberLeft { member, name });
        for (id, on) in [(2, true), (3, true), (9, true)] {
            let member = MemberId(id);
            all.handle(&CallEvent::Sharing { member, on });
        }
        let shown = tiles(&all.sizes, &all.state.lock().unwrap());
        let shown: Vec<_> = shown
            .iter()
            .map(|tile| (tile.member.0, tile.source, tile.width_px, tile.height_px))
            .collect();
        let of = |source| (2, source, 1_280, 720);
        assert_eq!(shown, [of(MediaSource::Camera), of(MediaSource::Screen)]);
    }
}
