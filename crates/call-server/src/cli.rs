//! The flags, their `VISAVIS_*` variables and the configuration file, in this order of precedence.
//!
//! A setting this version cannot honour is refused, never ignored.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use call_protocol::limits;
use call_server::{RelayConfig, ServerConfig, TlsFiles};
use clap::Parser;
use serde::Deserialize;

/// More media threads than this serve nobody.
const MAX_MEDIA_THREADS: usize = 64;
/// Media threads at most unless told: one carries some hundred members.
const DEFAULT_MEDIA_THREADS: usize = 4;

/// The signalling server and SFU of Visavis video calls.
#[derive(Debug, Default, Parser)]
#[command(name = "visavis-server", version)]
pub(crate) struct Args {
    /// Address for WebSocket and HTTP, as IP:PORT; port 0 takes a free one
    #[arg(long, env = "VISAVIS_HTTP", value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// Address for UDP (STUN), as IP:PORT; port 0 takes a free one
    #[arg(long, env = "VISAVIS_MEDIA", value_name = "ADDR")]
    media: Option<SocketAddr>,
    /// Address at which members reach the media port; told to them as a STUN server
    #[arg(long, env = "VISAVIS_PUBLIC_IP", value_name = "IP")]
    public_ip: Option<IpAddr>,
    /// Certificate chain for TLS, PEM
    #[arg(long, env = "VISAVIS_TLS_CERT", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// Private key for TLS, PEM
    #[arg(long, env = "VISAVIS_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Domain to obtain a certificate for (not supported yet)
    #[arg(long, env = "VISAVIS_ACME", value_name = "DOMAIN")]
    acme: Option<String>,
    /// Contact for the certificate authority (not supported yet)
    #[arg(long, env = "VISAVIS_ACME_EMAIL", value_name = "EMAIL")]
    acme_email: Option<String>,
    /// Threads for media, 1 to 64; one per core and at most 4 unless told
    #[arg(long, env = "VISAVIS_MEDIA_THREADS", value_name = "N")]
    media_threads: Option<usize>,
    /// Whether rooms use the SFU: auto, mesh or sfu
    #[arg(long, env = "VISAVIS_TOPOLOGY", value_name = "MODE")]
    topology: Option<String>,
    /// Members up to which a room stays a mesh, 2 to 50
    #[arg(long, env = "VISAVIS_MESH_LIMIT", value_name = "N")]
    mesh_limit: Option<usize>,
    /// Relay to private networks and loopback as well: for a server of one LAN
    #[arg(long, env = "VISAVIS_RELAY_PRIVATE")]
    relay_private: bool,
    /// NATS server that joins several instances (not supported yet)
    #[arg(long, env = "VISAVIS_NATS", value_name = "URL")]
    nats: Option<String>,
    /// TOML file with the same settings, named like the flags
    #[arg(long, env = "VISAVIS_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

/// The configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct File {
    http: Option<SocketAddr>,
    media: Option<SocketAddr>,
    public_ip: Option<IpAddr>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    acme: Option<String>,
    acme_email: Option<String>,
    media_threads: Option<usize>,
    topology: Option<String>,
    mesh_limit: Option<usize>,
    relay_private: Option<bool>,
    nats: Option<String>,
}

/// Why the settings do not make a server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{path}: {source}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        source: toml::de::Error,
    },
    /// A setting without default is missing.
    #[error("--{0} is required (or {1}, or the configuration file)")]
    Missing(&'static str, &'static str),
    /// A setting is out of its range.
    #[error("--mesh-limit must be from 2 to {max}", max = limits::ROOM_MEMBERS)]
    MeshLimit,
    /// A setting is out of its range.
    #[error("--media-threads must be from 1 to {MAX_MEDIA_THREADS}")]
    MediaThreads,
    /// A setting is none of its values.
    #[error("--topology must be auto, mesh or sfu")]
    Topology,
    /// Only one of certificate and key is there.
    #[error("--tls-cert and --tls-key belong together")]
    HalfTls,
    /// A setting for something that is not built yet.
    #[error("not_supported: --{0} is not supported by this version")]
    NotSupported(&'static str),
}

impl Args {
    /// Merges flags, variables and file.
    ///
    /// # Errors
    /// A setting is missing, out of range or not supported, or the file cannot be used.
    pub(crate) fn into_config(self) -> Result<ServerConfig, SettingsError> {
        let file = self
            .config
            .as_deref()
            .map(read_file)
            .transpose()?
            .unwrap_or_default();
        let refused = [
            ("acme", self.acme.is_some() || file.acme.is_some()),
            (
                "acme-email",
                self.acme_email.is_some() || file.acme_email.is_some(),
            ),
            ("nats", self.nats.is_some() || file.nats.is_some()),
        ];
        if let Some((name, _)) = refused.into_iter().find(|(_, is_given)| *is_given) {
            return Err(SettingsError::NotSupported(name));
        }
        let http = self
            .http
            .or(file.http)
            .ok_or(SettingsError::Missing("http", "VISAVIS_HTTP"))?;
        let media = self
            .media
            .or(file.media)
            .ok_or(SettingsError::Missing("media", "VISAVIS_MEDIA"))?;
        let public_ip = self.public_ip.or(file.public_ip);
        let tls = match (
            self.tls_cert.or(file.tls_cert),
            self.tls_key.or(file.tls_key),
        ) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
            _ => return Err(SettingsError::HalfTls),
        };
        let mut config = ServerConfig {
            http,
            media,
            public_ip,
            tls,
            ..ServerConfig::default()
        };
        config.media_threads = match self.media_threads.or(file.media_threads) {
            Some(threads) if (1..=MAX_MEDIA_THREADS).contains(&threads) => threads,
            Some(_) => return Err(SettingsError::MediaThreads),
            None => std::thread::available_parallelism()
                .map_or(1, usize::from)
                .min(DEFAULT_MEDIA_THREADS),
        };
        if let Some(topology) = self.topology.or(file.topology) {
            config.rooms.topology = topology.parse().map_err(|_| SettingsError::Topology)?;
        }
        if self.relay_private || file.relay_private.unwrap_or(false) {
            config.relay = Some(RelayConfig {
                allow_private: true,
                ..RelayConfig::default()
            });
        }
        if let Some(mesh_limit) = self.mesh_limit.or(file.mesh_limit) {
            if !(2..=limits::ROOM_MEMBERS).contains(&mesh_limit) {
                return Err(SettingsError::MeshLimit);
            }
            config.rooms.mesh_limit = mesh_limit;
        }
        Ok(config)
    }
}

fn read_file(path: &Path) -> Result<File, SettingsError> {
    let text = std::fs::read_to_string(path).map_err(|source| SettingsError::Read {
        path: path.to_owned(),
        source,
    })?;
    toml::from_str(&text).map_err(|source| SettingsError::Parse {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use call_room::TopologyChoice;

    use super::*;

    fn addresses() -> Args {
        Args {
            http: Some("127.0.0.1:1".parse().unwrap()),
            media: Some("127.0.0.1:2".parse().unwrap()),
            ..Args::default()
        }
    }

    fn with_file(text: &str, args: Args) -> Result<ServerConfig, SettingsError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        Args {
            config: Some(file.path().to_owned()),
            ..args
        }
        .into_config()
    }

    #[test]
    fn flags_come_before_the_file() {
        let file = "http = \"127.0.0.1:7\"\nmedia = \"127.0.0.1:8\"\nmesh-limit = 6\n\
            topology = \"sfu\"\nmedia-threads = 3\n";
        let config = with_file(
            file,
            Args {
                mesh_limit: Some(9),
                ..Args::default()
            },
        )
        .unwrap();
        assert_eq!((config.http.port(), config.media.port()), (7, 8));
        assert_eq!(config.rooms.mesh_limit, 9);
        assert_eq!(config.rooms.topology, TopologyChoice::Sfu);
        assert_eq!(config.media_threads, 3);
    }

    #[test]
    fn what_cannot_be_honoured_is_refused() {
        let text = || Some("x".to_owned());
        for args in [
            Args {
                acme: text(),
                ..addresses()
            },
            Args {
                acme_email: text(),
                ..addresses()
            },
            Args {
                nats: text(),
                ..addresses()
            },
        ] {
            let error = args.into_config().unwrap_err().to_string();
            assert!(error.starts_with("not_supported: --"), "{error}");
        }
        assert!(matches!(
            with_file("nats = \"nats://x\"", addresses()),
            Err(SettingsError::NotSupported("nats"))
        ));
    }

    #[test]
    fn certificate_and_key_belong_together() {
        let path = || Some(PathBuf::from("x"));
        for args in [
            Args {
                tls_cert: path(),
                ..addresses()
            },
            Args {
                tls_key: path(),
                ..addresses()
            },
        ] {
            assert!(matches!(args.into_config(), Err(SettingsError::HalfTls)));
        }
        let both = Args {
            tls_cert: path(),
            ..addresses()
        };
        let config = with_file("tls-key = \"y\"", both).unwrap();
        assert_eq!(
            config.tls,
            Some(TlsFiles {
                cert: "x".into(),
                key: "y".into()
            })
        );
    }

    #[test]
    fn bad_settings_are_refused() {
        assert!(matches!(
            Args {
                media: None,
                ..addresses()
            }
            .into_config(),
            Err(SettingsError::Missing("media", _))
        ));
        for mesh_limit in [0, 1, 51] {
            let args = Args {
                mesh_limit: Some(mesh_limit),
                ..addresses()
            };
            assert!(matches!(args.into_config(), Err(SettingsError::MeshLimit)));
        }
        for media_threads in [0, 65] {
            let args = Args {
                media_threads: Some(media_threads),
                ..addresses()
            };
            assert!(matches!(
                args.into_config(),
                Err(SettingsError::MediaThreads)
            ));
        }
        assert!(matches!(
            with_file("topology = \"star\"", addresses()),
            Err(SettingsError::Topology)
        ));
        assert!(matches!(
            with_file("colour = 3", addresses()),
            Err(SettingsError::Parse { .. })
        ));
        let missing = Args {
            config: Some("/nonexistent".into()),
            ..addresses()
        };
        assert!(matches!(
            missing.into_config(),
            Err(SettingsError::Read { .. })
        ));
    }
}
