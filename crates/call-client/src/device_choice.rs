//! Which listed device stands for the chosen one. Pure.
//!
//! * A chosen device that is not listed is replaced by the system's default until it is back. The
//!   choice itself never changes but by [`DeviceChoice::select`].
//! * A device is recognised by its identity, where ids are given anew at every plugging in; by its
//!   id; and by its name, when it came back as something else.
//! * With nothing chosen, a default that became another device is opened anew.

use call_media::watch::DeviceEntry;

/// The person's choice of one kind of device.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Chosen {
    id: String,
    /// Unknown until the device was listed once, unless it was remembered.
    name: Option<String>,
    identity: Option<String>,
}

/// What tells one default device from another.
type DefaultKey = (Option<String>, Option<u64>);

/// One kind of device: what is chosen and what is used for it.
#[derive(Clone, Debug)]
pub(crate) struct DeviceChoice {
    chosen: Option<Chosen>,
    /// What is opened: an id, or the system's default.
    used: Option<String>,
    default: Option<DefaultKey>,
    listed: Vec<DeviceEntry>,
}

impl DeviceChoice {
    /// `name` is what the device was called when it was chosen, if that is remembered.
    pub(crate) fn new(id: Option<String>, name: Option<String>) -> Self {
        Self {
            used: id.clone(),
            chosen: id.map(|id| Chosen {
                id,
                name,
                identity: None,
            }),
            default: None,
            listed: Vec::new(),
        }
    }

    /// Takes the person's choice; `None` is the system's default.
    pub(crate) fn select(&mut self, id: Option<String>) {
        let listed = std::mem::take(&mut self.listed);
        let entry = listed.iter().find(|entry| Some(&entry.id) == id.as_ref());
        *self = Self {
            default: self.default.take(),
            ..Self::new(id, entry.map(|entry| entry.name.clone()))
        };
        if let (Some(chosen), Some(entry)) = (&mut self.chosen, entry) {
            chosen.identity.clone_from(&entry.identity);
        }
        self.listed = listed;
    }

    /// Takes a list; `stamp` differs when the default may be another one under the same id, and is
    /// `None` when that is not known. Returns what is to be opened in place of what is open.
    pub(crate) fn handle_list(
        &mut self,
        listed: Vec<DeviceEntry>,
        stamp: Option<u64>,
    ) -> Option<Option<String>> {
        self.listed = listed;
        let found = self.chosen.as_ref().and_then(|c| find(c, &self.listed));
        let target = found.map(|entry| entry.id.clone());
        if let (Some(chosen), Some(entry)) = (&mut self.chosen, found) {
            chosen.name.get_or_insert_with(|| entry.name.clone());
            if chosen.identity.is_none() {
                chosen.identity.clone_from(&entry.identity);
            }
        }
        let default = self.listed.iter().find(|entry| entry.is_default);
        let key = (default.map(|entry| entry.id.clone()), stamp);
        let is_other_default = self
            .default
            .as_ref()
            .is_some_and(|before| is_other(before, &key));
        // A list without a default says nothing about which one it is.
        if key.0.is_some() {
            let stamp = key.1.or(self.default.take().and_then(|before| before.1));
            self.default = Some((key.0, stamp));
        }
        let is_moved = target != self.used || (target.is_none() && is_other_default);
        self.used.clone_from(&target);
        is_moved.then_some(target)
    }

    /// The listed device to show as chosen; `None` while the default is used.
    pub(crate) fn selected(&self) -> Option<&str> {
        self.used.as_deref()
    }

    /// What the chosen device is called, once that is known.
    pub(crate) fn name(&self) -> Option<&str> {
        self.chosen.as_ref()?.name.as_deref()
    }
}

fn is_other(before: &DefaultKey, key: &DefaultKey) -> bool {
    let is_other_stamp = before
        .1
        .zip(key.1)
        .is_some_and(|(before, now)| before != now);
    key.0.is_some() && (before.0 != key.0 || is_other_stamp)
}

fn find<'a>(chosen: &Chosen, listed: &'a [DeviceEntry]) -> Option<&'a DeviceEntry> {
    let by_identity = chosen.identity.as_ref().and_then(|identity| {
        listed
            .iter()
            .find(|entry| entry.identity.as_ref() == Some(identity))
    });
    let is_name = |entry: &&DeviceEntry| chosen.name.as_ref() == Some(&entry.name);
    let by_id = listed.iter().find(|entry| entry.id == chosen.id);
    // Where ids are given anew, another device may carry this one's.
    let by_id =
        by_id.filter(|entry| entry.identity.is_none() || chosen.name.is_none() || is_name(entry));
    by_identity
        .or(by_id)
        .or_else(|| listed.iter().find(is_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera(id: &str, name: &str, socket: &str) -> DeviceEntry {
        DeviceEntry {
            id: id.into(),
            name: name.into(),
            identity: Some(format!("{name} at {socket}")),
            is_default: false,
        }
    }

    fn sound(id: &str, is_default: bool) -> DeviceEntry {
        DeviceEntry {
            id: id.into(),
            name: format!("The {id}"),
            identity: None,
            is_default,
        }
    }

    /// Feeds lists one after the other and compares what is to be opened.
    fn check(choice: &mut DeviceChoice, steps: &[(Vec<DeviceEntry>, Option<Option<&str>>)]) {
        for (step, (list, want)) in steps.iter().enumerate() {
            let got = choice.handle_list(list.clone(), Some(1));
            let want = want.map(|id| id.map(str::to_owned));
            assert_eq!(got, want, "step {step}");
        }
    }

    #[test]
    fn a_chosen_camera_is_given_up_and_taken_back_under_whatever_number() {
        let built_in = || camera("0", "Integrated", "usb-1");
        let webcam = |id| camera(id, "Webcam", "usb-2");
        let mut choice = DeviceChoice::new(Some("2".into()), None);
        check(
            &mut choice,
            &[
                (vec![built_in(), webcam("2")], None),
                (vec![built_in()], Some(None)),
                (vec![built_in()], None),
                (vec![built_in(), webcam("1")], Some(Some("1"))),
                (vec![built_in(), webcam("1")], None),
                // Another one in its old place is not it.
                (
                    vec![built_in(), camera("1", "Grabber", "usb-3")],
                    Some(None),
                ),
                // In another socket it is.
                (
                    vec![built_in(), camera("3", "Webcam", "usb-4")],
                    Some(Some("3")),
                ),
                // Everything is gone, and then it is back.
                (vec![], Some(None)),
                (vec![webcam("0")], Some(Some("0"))),
            ],
        );
        assert_eq!(choice.selected(), Some("0"));
        assert_eq!(choice.name(), Some("Webcam"));
    }

    #[test]
    fn of_two_equal_cameras_the_one_in_the_same_socket_is_meant() {
        let first = || camera("0", "Webcam", "usb-1");
        let mut second = camera("2", "Webcam", "usb-2");
        second.name = "Webcam (2)".into();
        let mut choice = DeviceChoice::new(None, None);
        check(&mut choice, &[(vec![first(), second.clone()], None)]);
        choice.select(Some("2".into()));
        // Alone it is listed without a number.
        let mut alone = second.clone();
        (alone.id, alone.name) = ("0".into(), "Webcam".into());
        check(
            &mut choice,
            &[
                (vec![alone], Some(Some("0"))),
                (vec![first()], Some(None)),
                (vec![first(), second], Some(Some("2"))),
            ],
        );
    }

    #[test]
    fn a_remembered_name_finds_a_camera_after_the_app_was_closed() {
        let list = vec![
            camera("0", "Grabber", "usb-3"),
            camera("2", "Webcam", "usb-9"),
        ];
        let remembered = || Some("Webcam".to_owned());
        let mut choice = DeviceChoice::new(Some("0".into()), remembered());
        check(&mut choice, &[(list.clone(), Some(Some("2")))]);
        // Without a name the number has to do.
        check(
            &mut DeviceChoice::new(Some("0".into()), None),
            &[(list, None)],
        );
    }

    #[test]
    fn sound_devices_are_known_by_id_whatever_they_are_called() {
        let mut choice = DeviceChoice::new(Some("headset".into()), Some("Old name".into()));
        let both = || vec![sound("default", true), sound("headset", false)];
        let mut again = sound("headset_1", false);
        again.name = "Old name".into();
        check(
            &mut choice,
            &[
                (both(), None),
                (vec![sound("default", true)], Some(None)),
                (both(), Some(Some("headset"))),
                (vec![sound("default", true), again], Some(Some("headset_1"))),
            ],
        );
    }

    #[test]
    fn without_a_choice_the_default_is_followed() {
        let mut choice = DeviceChoice::new(None, None);
        check(
            &mut choice,
            &[
                (vec![sound("a", true), sound("b", false)], None),
                (vec![sound("a", true)], None),
                (vec![sound("b", true), sound("a", false)], Some(None)),
                (vec![], None),
                (vec![sound("b", true)], None),
                (vec![sound("a", true)], Some(None)),
            ],
        );
        // Under the same id, but of another configuration.
        let list = || vec![sound("a", true)];
        for (stamp, want) in [
            (Some(1), None),
            (None, None),
            (Some(2), Some(None)),
            (None, None),
            (Some(2), None),
        ] {
            assert_eq!(choice.handle_list(list(), stamp), want, "{stamp:?}");
        }
        // A choice that is there does not care.
        choice.select(Some("a".into()));
        assert_eq!(choice.handle_list(list(), Some(3)), None);
        choice.select(None);
        assert_eq!(choice.handle_list(list(), Some(3)), None);
    }
}
