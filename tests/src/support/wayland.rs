//! A private desktop as Wayland's are: a message bus, the portal through which applications ask to see
//! the screen, PipeWire, which shows it, and `visavis-portal` for the compositor. Its dialog asks nobody.
//!
//! It lives in namespaces of its own, as a user who is not root, and ends with the program that is
//! started in it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::window::binary;

/// See the module's text.
pub struct Desktop {
    bus: PathBuf,
    script: PathBuf,
    home: tempfile::TempDir,
}

/// A message bus that starts nothing by itself, so that what is on it is what is started here.
const BUS: &str = r#"<busconfig>
  <type>session</type>
  <listen>unix:tmpdir=/tmp</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"#;

/// Starts all of it in order, then what it is given.
const SCRIPT: &str = r#"
unset DISPLAY PULSE_SERVER
export XDG_RUNTIME_DIR="$FOLDER/run" XDG_CONFIG_HOME="$FOLDER" XDG_CACHE_HOME="$FOLDER/cache"
export XDG_CURRENT_DESKTOP=visavis XDG_DESKTOP_PORTAL_DIR="$FOLDER/portals" WAYLAND_DISPLAY=none
log="$FOLDER/log"
wait_for() { n=0; until eval "$1" >/dev/null 2>&1; do n=$((n+1)); [ $n -lt 100 ] || exit 9; sleep 0.1; done; }
pipewire >"$log-pipewire" 2>&1 &
wait_for '[ -S "$XDG_RUNTIME_DIR/pipewire-0" ]'
wireplumber >"$log-wireplumber" 2>&1 &
"$BACKEND" "$SIZE" "$FOLDER" >"$log-backend" 2>&1 &
wait_for 'gdbus introspect --session --dest org.freedesktop.impl.portal.desktop.visavis \
  --object-path /org/freedesktop/portal/desktop'
/usr/libexec/xdg-desktop-portal >"$log-portal" 2>&1 &
wait_for 'gdbus introspect --session --dest org.freedesktop.portal.Desktop \
  --object-path /org/freedesktop/portal/desktop | grep -q portal.ScreenCast'
exec "$@"
"#;

impl Desktop {
    /// What is missing on this machine for one, if anything.
    pub fn missing() -> Option<&'static str> {
        const PROGRAMS: [&str; 6] = [
            "pipewire",
            "wireplumber",
            "pw-dump",
            "gdbus",
            "dbus-run-session",
            "/usr/libexec/xdg-desktop-portal",
        ];
        let is_found = |program: &&str| {
            let found = Command::new("sh")
                .args(["-c", "command -v \"$1\"", "sh", program])
                .stdout(Stdio::null())
                .status();
            found.is_ok_and(|status| status.success())
        };
        let program = PROGRAMS.iter().find(|program| !is_found(program));
        let isolated = Command::new("unshare").args(ISOLATED).arg("true").output();
        let is_isolated = isolated.is_ok_and(|output| output.status.success());
        program
            .copied()
            .or((!is_isolated).then_some("user namespaces"))
    }

    /// Prepares one with a screen of this size in pixels that shows, or does, `screen`: see
    /// [`Self::set`].
    ///
    /// # Panics
    /// When its files cannot be written.
    pub fn new((width, height): (u32, u32), screen: &str) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory can be made");
        let path = home.path();
        let write = |name: &str, text: &str| {
            let file = path.join(name);
            let folder = file.parent().expect("a file has a folder");
            fs::create_dir_all(folder).expect("a folder can be made");
            fs::write(&file, text).expect("a file can be written");
            file
        };
        write("screen", screen);
        let bus = write("bus.conf", BUS);
        write(
            "portals/visavis.portal",
            "[portal]\nDBusName=org.freedesktop.impl.portal.desktop.visavis\n\
             Interfaces=org.freedesktop.impl.portal.ScreenCast\nUseIn=visavis\n",
        );
        let folder = path.join("run");
        fs::create_dir(&folder).expect("a folder can be made");
        let private = fs::Permissions::from_mode(0o700);
        fs::set_permissions(&folder, private).expect("it is ours");
        let set_up = format!(
            "FOLDER='{}'\nBACKEND='{}'\nSIZE={width}x{height}\n{SCRIPT}",
            path.display(),
            binary("visavis-portal").display(),
        );
        Self {
            bus,
            script: write("desktop.sh", &set_up),
            home,
        }
    }

    /// Shows `RRGGBB`, has the person close the dialog at `cancel`, takes the screen away at `end`.
    ///
    /// # Panics
    /// When that cannot be written down.
    pub fn set(&self, screen: &str) {
        fs::write(self.home.path().join("screen"), screen).expect("a file can be written");
    }

    /// Whether an application said that it shares no more.
    pub fn is_closed(&self) -> bool {
        self.home.path().join("closed").exists()
    }

    /// What a program and its arguments are put behind to run in it.
    pub fn prefix(&self) -> Vec<&Path> {
        let isolated = ["unshare"].into_iter().chain(ISOLATED);
        let bus = ["dbus-run-session", "--config-file"];
        let script = [&*self.bus, Path::new("--"), Path::new("sh"), &*self.script];
        isolated.chain(bus).map(Path::new).chain(script).collect()
    }
}

/// A user without rights, and an end for all that was started once the first is killed.
const ISOLATED: [&str; 7] = [
    "--user",
    "--map-user=1000",
    "--map-group=1000",
    "--pid",
    "--mount-proc",
    "--fork",
    "--kill-child",
];
