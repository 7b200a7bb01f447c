//! The servers that help to find paths, as far as what a server says of them is usable.

use std::time::{Duration, Instant};

use call_protocol::limits;
use call_protocol::wire::RelayGrant;

use crate::output::LinkOp;

/// Longest a grant is believed to hold.
const LONGEST_GRANT: Duration = Duration::from_secs(24 * 60 * 60);

/// What is usable now, and what the links were told.
#[derive(Debug, Default)]
pub(crate) struct IceServers {
    stun: Vec<String>,
    relay: Option<(RelayGrant, Instant)>,
    told: (Vec<String>, Option<RelayGrant>),
}

impl IceServers {
    /// The STUN servers from now on. What is not `stun:` (RFC 7064), too long or too much is left
    /// out.
    pub(crate) fn set_stun(&mut self, urls: Vec<String>) {
        self.stun = usable(urls, &["stun:"], limits::STUN_SERVERS);
    }

    /// The relay from now on; one that is out of its limits is none.
    pub(crate) fn set_relay(&mut self, now: Instant, grant: Option<RelayGrant>) {
        self.relay = grant.and_then(|mut grant| {
            grant.urls = usable(grant.urls, &["turn:", "turns:"], limits::RELAY_URLS);
            let is_secret = |text: &str| (1..=limits::RELAY_SECRET_CHARS).contains(&text.len());
            let is_usable = !grant.urls.is_empty()
                && is_secret(&grant.username)
                && is_secret(&grant.credential)
                && grant.ttl_s > 0;
            let lasts = Duration::from_secs(u64::from(grant.ttl_s)).min(LONGEST_GRANT);
            if !is_usable {
                tracing::debug!(?grant, "relay grant dropped");
            }
            is_usable.then_some((grant, now + lasts))
        });
    }

    /// When the grant expires.
    pub(crate) fn timeout(&self) -> Option<Instant> {
        self.relay.as_ref().map(|(_, expires)| *expires)
    }

    /// What to tell the links, if it changed.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<LinkOp> {
        self.relay.take_if(|(_, expires)| *expires <= now);
        let relay = self.relay.as_ref().map(|(grant, _)| grant);
        let (stun, told) = &self.told;
        if *stun == self.stun && is_same(told.as_ref(), relay) {
            return None;
        }
        self.told = (self.stun.clone(), relay.cloned());
        let (stun, relay) = self.told.clone();
        Some(LinkOp::UseIceServers { stun, relay })
    }
}

/// Whether links would do the same with both; how long a grant holds is not theirs to know.
fn is_same(a: Option<&RelayGrant>, b: Option<&RelayGrant>) -> bool {
    let parts = |grant: &RelayGrant| {
        let RelayGrant {
            urls,
            username,
            credential,
            ..
        } = grant.clone();
        (urls, username, credential)
    };
    a.map(parts) == b.map(parts)
}

fn usable(urls: Vec<String>, schemes: &[&str], most: usize) -> Vec<String> {
    urls.into_iter()
        .filter(|url| schemes.iter().any(|scheme| url.starts_with(scheme)))
        .filter(|url| url.len() <= limits::STUN_URL_CHARS)
        .filter(|url| url.bytes().all(|byte| byte.is_ascii_graphic()))
        .take(most)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant() -> RelayGrant {
        RelayGrant {
            urls: vec!["turn:192.0.2.1:3478?transport=udp".into()],
            username: "1:2".into(),
            credential: "secret".into(),
            ttl_s: 60,
        }
    }

    fn told(servers: &mut IceServers, now: Instant) -> Option<(Vec<String>, Option<RelayGrant>)> {
        match servers.poll(now)? {
            LinkOp::UseIceServers { stun, relay } => Some((stun, relay)),
            op => panic!("{op:?}"),
        }
    }

    #[test]
    fn only_usable_servers_are_used() {
        let now = Instant::now();
        let long = |scheme: &str| format!("{scheme}{}", "x".repeat(limits::STUN_URL_CHARS));
        let mut servers = IceServers::default();
        let bad = ["turn:a", "http://a", "", "stun:a b"];
        let mut stun: Vec<String> = bad.into_iter().map(str::to_owned).collect();
        stun.push(long("stun:"));
        stun.extend((0..9).map(|n| format!("stun:{n}")));
        servers.set_stun(stun);
        let mut relay = grant();
        relay.urls = vec![long("turn:"), "stun:a".into(), "TURN:a".into()];
        relay
            .urls
            .extend((0..9).map(|n| format!("turns:{n}?transport=tcp")));
        servers.set_relay(now, Some(relay));
        let (stun, relay) = told(&mut servers, now).unwrap();
        assert_eq!(stun, ["stun:0", "stun:1", "stun:2", "stun:3"]);
        assert_eq!(relay.unwrap().urls.len(), limits::RELAY_URLS);
    }

    #[test]
    fn grants_out_of_their_limits_are_none() {
        let long = "x".repeat(limits::RELAY_SECRET_CHARS + 1);
        let spoil: [&dyn Fn(&mut RelayGrant); 6] = [
            &|grant| grant.urls = Vec::new(),
            &|grant| grant.urls = vec!["http://a".into()],
            &|grant| grant.username = long.clone(),
            &|grant| grant.credential = long.clone(),
            &|grant| grant.credential = String::new(),
            &|grant| grant.ttl_s = 0,
        ];
        for spoil in spoil {
            let mut grant = grant();
            spoil(&mut grant);
            let mut servers = IceServers::default();
            servers.set_relay(Instant::now(), Some(grant));
            assert_eq!(
                (servers.timeout(), servers.poll(Instant::now())),
                (None, None)
            );
        }
    }

    #[test]
    fn a_grant_is_used_until_it_expires_or_is_renewed() {
        let now = Instant::now();
        let mut servers = IceServers::default();
        servers.set_relay(now, Some(grant()));
        assert_eq!(told(&mut servers, now), Some((Vec::new(), Some(grant()))));
        let later = now + Duration::from_secs(50);
        servers.set_relay(later, Some(grant()));
        assert_eq!(told(&mut servers, later), None, "merely prolonged");
        let expires = later + Duration::from_secs(60);
        assert_eq!(servers.timeout(), Some(expires));
        assert_eq!(told(&mut servers, expires), Some((Vec::new(), None)));
        assert_eq!(servers.timeout(), None);
        let forever = RelayGrant {
            ttl_s: u32::MAX,
            ..grant()
        };
        servers.set_relay(now, Some(forever));
        assert_eq!(servers.timeout(), Some(now + LONGEST_GRANT));
    }
}
