//! The networks, as data.

use std::time::Duration;

use call_lab::link::{Conditions, Plan};
use call_lab::network::{Jitter, Loss, PathConfig};
use visavis_tests::support::link::cheap_path;

/// Of every link, each way: more than a picture of this size needs.
const RATE_BPS: u64 = 3_000_000;
/// 200 ms of it.
const QUEUE_BYTES: usize = 75_000;

/// A network, the same both ways.
pub(crate) struct Network {
    pub(crate) name: String,
    pub(crate) conditions: Conditions,
    /// How long calls over it are measured.
    pub(crate) measured: Duration,
    /// What becomes worse from when to when, counted from the beginning of what is measured.
    pub(crate) episode: Option<(Duration, Duration, Conditions)>,
}

impl Network {
    fn lasting(name: String, path: PathConfig, measured: Duration) -> Self {
        Self {
            name,
            conditions: Conditions::symmetric(path),
            measured,
            episode: None,
        }
    }

    /// As the two meet: the delay is there, losses and jitter are not.
    pub(crate) fn before(&self) -> Plan {
        let path = PathConfig {
            loss: Loss::None,
            jitter: Jitter::None,
            ..self.conditions.there
        };
        Plan::constant(path, 1)
    }
}

fn path(delay: Duration) -> PathConfig {
    PathConfig {
        delay,
        rate_bps: Some(RATE_BPS),
        queue_bytes: QUEUE_BYTES,
        ..PathConfig::default()
    }
}

/// Random loss each way by round trip.
pub(crate) fn matrix() -> Vec<Network> {
    let mut all = Vec::new();
    for loss_percent in [0_u32, 1, 5, 10, 20] {
        for rtt_ms in [20_u32, 100, 250] {
            let name = format!("{loss_percent} % lost, {rtt_ms} ms");
            let path = PathConfig {
                loss: Loss::Random(f64::from(loss_percent) / 1e2),
                ..path(Duration::from_millis(rtt_ms.into()) / 2)
            };
            all.push(Network::lasting(name, path, Duration::from_secs(12)));
        }
    }
    all
}

/// The three that Signal names for the simulation of its calls, each way: delay and its deviation,
/// and loss.
pub(crate) fn profiles() -> Vec<Network> {
    let ms = Duration::from_millis;
    let moderate = PathConfig {
        loss: Loss::Random(0.05),
        jitter: Jitter::Normal(ms(25)),
        ..path(ms(100))
    };
    let international = PathConfig {
        loss: Loss::bursts(0.10, 3.0),
        jitter: Jitter::Normal(ms(100)),
        ..path(ms(250))
    };
    let worse = Conditions::symmetric(PathConfig {
        loss: Loss::Random(0.30),
        ..path(ms(25))
    });
    let name = "30 % lost for 10 of 20 s, 25 ms".to_owned();
    let mut spike = Network::lasting(name, path(ms(25)), ms(20_000));
    spike.episode = Some((ms(5_000), ms(15_000), worse));
    vec![
        Network::lasting(
            "moderate: 100 ± 25 ms, 5 % lost".to_owned(),
            moderate,
            ms(20_000),
        ),
        Network::lasting(
            "international: 250 ± 100 ms, 10 % lost in bursts".to_owned(),
            international,
            ms(20_000),
        ),
        spike,
    ]
}

/// A link that becomes too narrow for a picture of any size, and wide again.
pub(crate) fn narrowing() -> Vec<Network> {
    let secs = Duration::from_secs;
    let name = "2 Mbit/s, 150 kbit/s for 20 of 40 s".to_owned();
    let mut narrow = Network::lasting(name, cheap_path(2_000_000), secs(40));
    let worse = Conditions::symmetric(cheap_path(150_000));
    narrow.episode = Some((secs(5), secs(25), worse));
    vec![narrow]
}
