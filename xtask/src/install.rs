//! Installs what building and testing need and the machine lacks.
//!
//! Debian and Ubuntu: system packages through apt, as root or by sudo. Elsewhere the exact
//! commands are printed and nothing is touched. A machine that has everything is asked a few
//! cheap questions and nothing else. The npm packages belong to [`crate::ui`].

use std::collections::BTreeSet;
use std::fs;
use std::io::IsTerminal;
use std::process::Command;

use anyhow::{Result, bail};

use crate::process;
use crate::workspace::Workspace;

/// What the installed things are for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Building and opening the app.
    Build,
    /// That, and every check and test.
    Test,
}

const APT_BUILD: [&str; 20] = [
    "build-essential",
    "pkg-config",
    "cmake",
    "nasm",
    "clang",
    "libclang-dev",
    "mold",
    "libwebkit2gtk-4.1-dev",
    "libgtk-3-dev",
    "librsvg2-dev",
    "libasound2-dev",
    "libvpx-dev",
    "libv4l-dev",
    "libpipewire-0.3-dev",
    "libssl-dev",
    "libxdo-dev",
    "libayatana-appindicator3-dev",
    "gstreamer1.0-plugins-good",
    "gstreamer1.0-plugins-bad",
    "libasound2-plugins",
];

const APT_TEST: [&str; 17] = [
    "xvfb",
    "xauth",
    "xdotool",
    "webkit2gtk-driver",
    "dbus",
    "chromium",
    "pulseaudio",
    "pulseaudio-utils",
    "imagemagick",
    "iproute2",
    "nftables",
    "fonts-dejavu-core",
    "fonts-noto-color-emoji",
    "pipewire",
    "pipewire-bin",
    "wireplumber",
    "xdg-desktop-portal",
];

const FEDORA: &str = "sudo dnf install gcc gcc-c++ make pkgconf-pkg-config cmake nasm clang-devel mold \
    webkit2gtk4.1-devel gtk3-devel librsvg2-devel alsa-lib-devel libvpx-devel libv4l-devel pipewire-devel \
    openssl-devel libxdo-devel libayatana-appindicator-gtk3-devel gstreamer1-plugins-good gstreamer1-plugins-bad-free \
    alsa-plugins-pulseaudio nodejs npm\n\
    for the tests also: sudo dnf install xorg-x11-server-Xvfb xauth xdotool dbus-x11 chromium \
    pulseaudio-utils ImageMagick iproute nftables dejavu-sans-fonts google-noto-color-emoji-fonts \
    pipewire-utils wireplumber xdg-desktop-portal";
const ARCH: &str = "sudo pacman -S --needed base-devel cmake nasm clang mold webkit2gtk-4.1 gtk3 librsvg \
    alsa-lib libvpx v4l-utils pipewire openssl xdotool libayatana-appindicator gst-plugins-good gst-plugins-bad \
    alsa-plugins nodejs npm\n\
    for the tests also: sudo pacman -S --needed xorg-server-xvfb xorg-xauth dbus chromium libpulse \
    imagemagick iproute2 nftables ttf-dejavu noto-fonts-emoji wireplumber \
    xdg-desktop-portal";
const MACOS: &str = "xcode-select --install\n    brew install cmake nasm pkgconf libvpx node";
const WINDOWS: &str = "winget install Microsoft.VisualStudio.2022.BuildTools --override \"--wait --passive \
    --add Microsoft.VisualStudio.Workload.VCTools --includeRecommended\"\n    \
    winget install Kitware.CMake NASM.NASM LLVM.LLVM OpenJS.NodeJS.LTS\n    \
    git clone https://github.com/microsoft/vcpkg && vcpkg\\bootstrap-vcpkg.bat && \
    vcpkg\\vcpkg install libvpx:x64-windows-static-md";

/// What the UI's tools run on, as in `engines` of ui/package.json.
const NODE_WANTED: &str = "20.19 or newer of 20, or 22.12 or newer";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum System {
    Debian,
    Ubuntu,
    Fedora,
    Arch,
    OtherLinux,
    MacOs,
    Windows,
}

impl System {
    fn detect() -> Self {
        if cfg!(target_os = "macos") {
            Self::MacOs
        } else if cfg!(windows) {
            Self::Windows
        } else {
            Self::from_os_release(&fs::read_to_string("/etc/os-release").unwrap_or_default())
        }
    }

    fn from_os_release(text: &str) -> Self {
        let field = |name: &str| {
            text.lines()
                .filter_map(|line| line.split_once('='))
                .find(|(key, _)| *key == name)
                .map_or("", |(_, value)| value.trim_matches(['"', '\'']))
        };
        // The distribution itself first, then what it says it is like.
        std::iter::once(field("ID"))
            .chain(field("ID_LIKE").split_whitespace())
            .find_map(|id| match id {
                "debian" => Some(Self::Debian),
                "ubuntu" => Some(Self::Ubuntu),
                "fedora" | "rhel" => Some(Self::Fedora),
                "arch" => Some(Self::Arch),
                _ => None,
            })
            .unwrap_or(Self::OtherLinux)
    }

    /// What to type where nothing is installed automatically.
    fn commands(self) -> &'static str {
        match self {
            Self::Fedora => FEDORA,
            Self::Arch => ARCH,
            Self::MacOs => MACOS,
            Self::Windows => WINDOWS,
            Self::Debian | Self::Ubuntu | Self::OtherLinux => {
                "install the equivalents of the Debian packages listed in xtask/src/install.rs"
            }
        }
    }
}

/// Makes sure that everything for `purpose` is there, or says exactly what is missing.
pub(crate) fn install(workspace: &Workspace, purpose: Purpose) -> Result<()> {
    let system = System::detect();
    match system {
        System::Debian | System::Ubuntu => install_with_apt(system, purpose)?,
        _ => probe(system)?,
    }
    require_node(system)?;
    if purpose == Purpose::Test {
        install_components(workspace)?;
        install_cargo_deny(workspace)?;
    }
    Ok(())
}

fn apt_packages(system: System, purpose: Purpose) -> Vec<&'static str> {
    let mut packages = APT_BUILD.to_vec();
    if purpose == Purpose::Test {
        packages.extend(APT_TEST);
    }
    if system == System::Ubuntu {
        // Ubuntu has it as a snap only, which cannot see the test's files. Chrome does as well, and
        // CHROMIUM may name another one.
        packages.retain(|package| *package != "chromium");
    }
    packages
}

fn install_with_apt(system: System, purpose: Purpose) -> Result<()> {
    install_packages(&apt_packages(system, purpose))
}

/// Installs Janus, which only the benchmark of the SFU compares with; elsewhere than on Debian and
/// Ubuntu it is left out.
pub(crate) fn install_janus() -> Result<()> {
    match System::detect() {
        System::Debian | System::Ubuntu => install_packages(&["janus"]),
        _ => {
            println!("xtask: no comparison with Janus unless /usr/bin/janus is there");
            Ok(())
        }
    }
}

fn install_packages(wanted: &[&str]) -> Result<()> {
    // Ends with failure when a package is unknown, so only what it prints counts.
    let known = Command::new("dpkg-query")
        .args(["--show", "--showformat=${Package} ${db:Status-Status}\n"])
        .args(wanted)
        .output()?;
    let missing = not_installed(wanted, &String::from_utf8_lossy(&known.stdout));
    if missing.is_empty() {
        return Ok(());
    }
    println!("xtask: installing {}", missing.join(" "));
    apt(&["update", "--quiet"])?;
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend(&missing);
    apt(&arguments)
}

fn not_installed<'a>(wanted: &[&'a str], dpkg: &str) -> Vec<&'a str> {
    let installed: BTreeSet<&str> = dpkg
        .lines()
        .filter_map(|line| line.strip_suffix(" installed"))
        .collect();
    wanted
        .iter()
        .copied()
        .filter(|package| !installed.contains(package))
        .collect()
}

fn apt(arguments: &[&str]) -> Result<()> {
    let root = process::output(Command::new("id").arg("-u"))?.trim() == "0";
    let mut command = if root {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    } else if process::find("sudo").is_some() {
        let mut command = Command::new("sudo");
        if !std::io::stdin().is_terminal() {
            command.arg("--non-interactive");
        }
        command.args(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        command
    } else {
        bail!(
            "system packages are missing and there is neither root nor sudo; as root, run: \
             apt-get {}",
            arguments.join(" ")
        );
    };
    process::run(command.args(arguments))
}

/// Asks for the few things whose absence shows that the packages are not installed.
fn probe(system: System) -> Result<()> {
    let mut missing: Vec<&str> = ["cmake", "nasm"]
        .into_iter()
        .filter(|tool| process::find(tool).is_none())
        .collect();
    let libraries: &[&str] = match system {
        System::Windows => &[],
        System::MacOs => &["vpx"],
        _ => &["webkit2gtk-4.1", "alsa", "vpx"],
    };
    missing.extend(
        libraries
            .iter()
            .filter(|name| !process::succeeds(Command::new("pkg-config").args(["--exists", name]))),
    );
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "missing: {}. To install all that is needed:\n    {}",
        missing.join(", "),
        system.commands()
    )
}

fn require_node(system: System) -> Result<()> {
    let version = || {
        let output = Command::new("node").arg("--version").output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let suffices =
        || version().is_some_and(|v| is_node_wanted(&v)) && process::find("npm").is_some();
    if suffices() {
        return Ok(());
    }
    if matches!(system, System::Debian | System::Ubuntu) {
        apt(&["update", "--quiet"])?;
        if apt_has_node() {
            apt(&[
                "install",
                "--yes",
                "--no-install-recommends",
                "nodejs",
                "npm",
            ])?;
            if suffices() {
                return Ok(());
            }
        }
    }
    bail!(
        "Node with npm is needed, {NODE_WANTED}, and on PATH is {}. \
         Install it from https://nodejs.org/ or with a version manager.",
        version().as_deref().unwrap_or("none")
    )
}

/// Whether the distribution's own Node is new enough (Debian 12's is not).
fn apt_has_node() -> bool {
    Command::new("apt-cache")
        .args(["policy", "nodejs"])
        .output()
        .is_ok_and(|output| {
            String::from_utf8_lossy(&output.stdout)
                .lines()
                .filter_map(|line| line.trim().strip_prefix("Candidate: "))
                .any(is_node_wanted)
        })
}

/// Judges `v20.20.2` as Node prints it and `18.20.4+dfsg-1` as apt does.
fn is_node_wanted(version: &str) -> bool {
    let mut numbers = version.trim_start_matches('v').split('.');
    let mut next = || numbers.next()?.parse::<u32>().ok();
    let (Some(major), Some(minor)) = (next(), next()) else {
        return false;
    };
    (major == 20 && minor >= 19) || (major == 22 && minor >= 12) || major > 22
}

fn install_components(workspace: &Workspace) -> Result<()> {
    for (subcommand, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if process::succeeds(process::cargo(workspace.root()).args([subcommand, "--version"])) {
            continue;
        }
        process::run(Command::new("rustup").args(["component", "add", component]))?;
    }
    Ok(())
}

fn install_cargo_deny(workspace: &Workspace) -> Result<()> {
    if process::succeeds(process::cargo(workspace.root()).args(["deny", "--version"])) {
        return Ok(());
    }
    println!("xtask: installing cargo-deny");
    process::run(
        process::cargo(workspace.root())
            .args(["install", "--locked", "cargo-deny"])
            // It runs for a second; half the build time is worth more than its speed.
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_are_told_apart() {
        for (os_release, expected) in [
            ("ID=debian\n", System::Debian),
            (
                "NAME=\"Ubuntu\"\nID=ubuntu\nID_LIKE=debian\n",
                System::Ubuntu,
            ),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", System::Ubuntu),
            ("ID=fedora\n", System::Fedora),
            (
                "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n",
                System::Fedora,
            ),
            ("ID=manjaro\nID_LIKE=arch\n", System::Arch),
            ("ID=nixos\n", System::OtherLinux),
            ("", System::OtherLinux),
        ] {
            assert_eq!(
                System::from_os_release(os_release),
                expected,
                "{os_release}"
            );
        }
    }

    #[test]
    fn only_installed_counts_as_installed() {
        let dpkg = "cmake installed\nnasm config-files\nclang installed\n";
        assert_eq!(
            not_installed(&["cmake", "nasm", "clang", "mold"], dpkg),
            ["nasm", "mold"]
        );
    }

    #[test]
    fn test_packages_are_left_out_of_a_build() {
        assert!(!apt_packages(System::Debian, Purpose::Build).contains(&"xvfb"));
        assert!(apt_packages(System::Debian, Purpose::Test).contains(&"chromium"));
        assert!(!apt_packages(System::Ubuntu, Purpose::Test).contains(&"chromium"));
    }

    #[test]
    fn node_versions_compare_as_numbers() {
        for wanted in [
            "v20.19.0",
            "v20.20.2",
            "v22.12.0",
            "v100.1.0",
            "24.1.0+dfsg-1",
        ] {
            assert!(is_node_wanted(wanted), "{wanted}");
        }
        for other in [
            "v9.0.0",
            "v20.18.3",
            "v21.7.0",
            "v22.9.0",
            "18.20.4+dfsg-1~deb12u1",
            "(none)",
            "",
        ] {
            assert!(!is_node_wanted(other), "{other}");
        }
    }
}
