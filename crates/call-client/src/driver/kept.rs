//! What outlives the app without concerning the call: the window's choices, how the person starts
//! into calls, and the rooms they were in.

use std::path::PathBuf;

use call_core::CallEvent;
use call_protocol::ui::{UiCommand, UiEvent};

use super::{Driver, unix_ms};
use crate::keep::Saver;
use crate::recent_rooms::RecentRooms;
use crate::settings::Settings;

/// The rooms remembered, and the one the person is in.
pub(super) struct Rooms {
    recent: RecentRooms,
    saver: Option<Saver<RecentRooms>>,
    /// The code of the room joined or being joined.
    code: Option<String>,
    /// Whether the person got in.
    is_inside: bool,
    /// Whether this app hosts it.
    is_host: bool,
}

impl Rooms {
    pub(super) fn new(
        mut recent: RecentRooms,
        profile: Option<PathBuf>,
        settings: &Settings,
    ) -> Self {
        if !settings.choices.keep_rooms {
            recent.forget_all();
        }
        Self {
            recent,
            saver: profile.map(|profile| Saver::new(profile, RecentRooms::save)),
            code: None,
            is_inside: false,
            is_host: false,
        }
    }

    /// Whether the room the person goes to was hosted here: nobody else would open it again, and two
    /// who both did would wait for each other in two rooms.
    pub(super) fn returns_as_host(&self) -> bool {
        let code = self.code.as_deref();
        code.is_some_and(|code| self.recent.was_hosted(code))
    }

    /// Where the room is was found out.
    pub(super) fn handle_located(&mut self, is_host: bool) {
        self.is_host = is_host;
    }

    /// Writes what is not written yet. Blocks on the disk.
    pub(super) fn finish(self) {
        if let Some(saver) = self.saver {
            saver.finish();
        }
    }
}

impl Driver {
    /// Carries out what concerns no call; hands back the rest.
    pub(super) fn take_kept(&mut self, command: UiCommand) -> Option<UiCommand> {
        match command {
            UiCommand::SetChoices { choices } => {
                if self.settings.choices.keep_rooms && !choices.keep_rooms {
                    self.rooms.recent.forget_all();
                    self.tell_rooms();
                }
                self.settings.choices = choices;
                self.save_settings();
                self.tell_choices();
            }
            UiCommand::ForgetRoom { code } => {
                self.rooms.recent.forget(&code);
                self.tell_rooms();
            }
            UiCommand::ForgetRooms => {
                self.rooms.recent.forget_all();
                self.tell_rooms();
            }
            UiCommand::Refresh => {
                self.tell_choices();
                self.ui.event(self.rooms_event());
                return Some(UiCommand::Refresh);
            }
            command => return Some(command),
        }
        None
    }

    /// How the person leaves microphone and camera outside a call is how the next run begins.
    pub(super) fn note_start(&mut self, command: &UiCommand) {
        let settings = &mut self.settings;
        let (kept, new) = match command {
            UiCommand::SetMuted { muted } => (&mut settings.start_muted, *muted),
            UiCommand::SetCamera { on } => (&mut settings.start_camera_off, !*on),
            _ => return,
        };
        if !self.in_call && *kept != new {
            *kept = new;
            self.save_settings();
        }
    }

    /// Remembers where the person is and whom they meet, if they want that.
    pub(super) fn remember_room(&mut self, event: &CallEvent) {
        let rooms = &mut self.rooms;
        match event {
            CallEvent::Room { code, .. } => {
                (rooms.code, rooms.is_inside) = (Some(code.clone()), false);
                rooms.is_host = false;
                return;
            }
            CallEvent::Joined { .. } => rooms.is_inside = true,
            CallEvent::MemberJoined { .. } => {}
            CallEvent::Left { .. } if rooms.is_inside => {}
            _ => return,
        }
        let is_over = matches!(event, CallEvent::Left { .. });
        let Some(code) = rooms.code.clone() else {
            return;
        };
        if is_over {
            (rooms.code, rooms.is_inside) = (None, false);
        }
        if !self.settings.choices.keep_rooms {
            return;
        }
        match event {
            CallEvent::MemberJoined { name, .. } => rooms.recent.meet(&code, name),
            _ => rooms.recent.visit(&code, unix_ms(), rooms.is_host),
        }
        self.tell_rooms();
    }

    fn tell_choices(&self) {
        let choices = self.settings.choices.clone();
        self.ui.event(UiEvent::Choices { choices });
    }

    fn rooms_event(&self) -> UiEvent {
        UiEvent::Rooms {
            rooms: self.rooms.recent.rooms().to_vec(),
        }
    }

    /// The rooms changed.
    fn tell_rooms(&mut self) {
        self.ui.event(self.rooms_event());
        if let Some(saver) = &self.rooms.saver {
            let work = saver.save(self.rooms.recent.clone());
            self.background.spawn_blocking(work);
        }
    }
}
