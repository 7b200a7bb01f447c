//! What the person chose of the window, and the rooms they were in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Most rebound keys kept.
pub const MOST_KEYS: usize = 64;
/// Longest name of an action or a key, and longest language tag, in bytes.
pub const CHOICE_BYTES: usize = 32;

/// The choices that are the window's alone: the engine keeps them and looks at few of them.
///
/// Every field has a default, so that a file without it, or with something else in it, stays usable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
pub struct ChoicesView {
    /// Language as a tag (BCP 47); empty follows the system.
    pub language: String,
    /// Light or dark.
    pub theme: Theme,
    /// Whether the desktop tells what happens while the window is not looked at.
    pub notifications: bool,
    /// Whether rooms are remembered. Switching it off forgets them.
    pub keep_rooms: bool,
    /// Whether a shortcut mutes also while another program has the keyboard.
    pub global_mute: bool,
    /// Keys the person gave to actions, by the action's name; an empty key takes the action's away.
    /// Actions that are not in it keep their own.
    pub keys: BTreeMap<String, String>,
}

impl Default for ChoicesView {
    fn default() -> Self {
        Self {
            language: String::new(),
            theme: Theme::default(),
            notifications: true,
            keep_rooms: true,
            global_mute: false,
            keys: BTreeMap::new(),
        }
    }
}

impl ChoicesView {
    /// Whether every text and number of them is within its bound.
    pub fn is_bounded(&self) -> bool {
        let fits = |text: &String| text.len() <= CHOICE_BYTES;
        fits(&self.language)
            && self.keys.len() <= MOST_KEYS
            && self
                .keys
                .iter()
                .all(|(action, key)| fits(action) && fits(key))
    }
}

/// Whether the window is light or dark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
#[serde(rename_all = "snake_case")]
pub enum Theme {
    /// As the system is.
    #[default]
    System,
    /// Light.
    Light,
    /// Dark.
    Dark,
}

/// A room the person was in. Its code is its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "codegen", derive(ts_rs::TS), ts(export))]
pub struct RecentRoomView {
    /// As shown, `XXXX-XXXX-XXXX`.
    pub code: String,
    /// When the person was last in it, in milliseconds since 1970.
    #[cfg_attr(feature = "codegen", ts(type = "number"))]
    pub last_at_ms: u64,
    /// Whether this app hosted it on the local network, and does so again when the person returns.
    #[serde(default)]
    pub hosted: bool,
    /// Names of those who were met there, newest first; few.
    pub met: Vec<String>,
}
