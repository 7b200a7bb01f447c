//! Every tunable of [`crate::Rooms`], with its unit and what moving it does.

use std::time::Duration;

use call_protocol::limits;

use crate::rate::Rate;
use crate::topology::TopologyChoice;

/// Limits and times of a server. The defaults fit one public machine.
#[derive(Clone, Debug)]
pub struct RoomsConfig {
    /// Most rooms at once. A room costs about 1 KiB plus 4 KiB per member; joins that would open
    /// another one get `server_full`.
    pub max_rooms: usize,
    /// Most members of one room, at most [`limits::ROOM_MEMBERS`]; clients size their lists by it.
    pub room_members: usize,
    /// Most connections at once, seated or not; further ones get a fatal `server_full`.
    pub max_connections: usize,
    /// Most members of a mesh; larger rooms move to the SFU. More spares the server's bandwidth,
    /// less the members' uplinks and processors.
    pub mesh_limit: usize,
    /// Whether rooms move to the SFU. [`TopologyChoice::Mesh`] where there is none.
    pub topology: TopologyChoice,
    /// Where the relay listens, as `turn:host:port?transport=udp` and the like; empty where there
    /// is none.
    pub relay_urls: Vec<String>,
    /// Life of a relay grant, between a minute and [`crate::relay::MAX_TTL_S`]. Longer renews less often; shorter
    /// bounds how long somebody who left can go on using the relay.
    pub relay_ttl: Duration,
    /// STUN servers told to whoever joins, as `stun:host:port`. None where members reach each other
    /// without, as on one local network.
    pub stun: Vec<String>,
    /// How long a seat outlives its connection. Longer survives longer outages; shorter removes
    /// vanished members from the others' screens sooner.
    pub resume_grace: Duration,
    /// How long a new connection may take to say `hello`. Shorter frees the slots of idle
    /// connections sooner, longer tolerates slower networks.
    pub hello_timeout: Duration,
    /// Unparsable or rate-limited messages in a row after which a connection is closed.
    pub bad_messages: u32,
    /// Messages of one connection. A join to a room of eight makes some 150 within a second
    /// (offers and trickled candidates), hence the large burst.
    pub message_rate: Rate,
    /// Joins of one connection.
    pub join_rate: Rate,
    /// Most connections at once from one [`crate::ClientAddr`]; whole offices share an address.
    pub address_connections: usize,
    /// New connections from one address.
    pub address_connect_rate: Rate,
    /// Joins from one address. Bounds guessing: a room id has far more values than this lets
    /// anybody try.
    pub address_join_rate: Rate,
    /// Joins to one room, refused ones included. Bounds how fast a roster can be made to flicker.
    pub room_join_rate: Rate,
    /// Knocks at one room's door. Bounds how often its host is disturbed; lower keeps out who comes
    /// with many others.
    pub knock_rate: Rate,
}

impl Default for RoomsConfig {
    fn default() -> Self {
        Self {
            max_rooms: 10_000,
            room_members: limits::ROOM_MEMBERS,
            max_connections: 20_000,
            mesh_limit: 4,
            topology: TopologyChoice::Auto,
            relay_urls: Vec::new(),
            relay_ttl: Duration::from_secs(30 * 60),
            stun: Vec::new(),
            resume_grace: Duration::from_millis(limits::RESUME_GRACE_MS),
            hello_timeout: Duration::from_secs(10),
            bad_messages: 20,
            message_rate: Rate::per_second(600, 100),
            join_rate: Rate::per_second(10, 1),
            address_connections: 200,
            address_connect_rate: Rate::per_second(100, 5),
            address_join_rate: Rate::per_second(100, 5),
            room_join_rate: Rate::per_second(400, 10),
            knock_rate: Rate {
                burst: 20,
                refill: Duration::from_secs(3),
            },
        }
    }
}
