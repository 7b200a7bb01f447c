//! The URLs under which members find the relay (RFC 7065).

use std::net::{IpAddr, SocketAddr};

/// UDP first, then what passes stricter networks, most likely last. `tls`: the certificate's name
/// (`None`: the address itself is what members verify) and the HTTPS port.
pub(crate) fn relay_urls(
    public: IpAddr,
    media_port: u16,
    has_tcp: bool,
    tls: Option<(Option<&str>, u16)>,
) -> Vec<String> {
    let media = SocketAddr::new(public, media_port);
    let mut urls = vec![format!("turn:{media}?transport=udp")];
    if has_tcp {
        urls.push(format!("turn:{media}?transport=tcp"));
    }
    if let Some((name, port)) = tls {
        urls.push(match name {
            Some(name) => format!("turns:{name}:{port}?transport=tcp"),
            None => format!("turns:{}?transport=tcp", SocketAddr::new(public, port)),
        });
    }
    urls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_has_its_url() {
        let ip = "198.51.100.1".parse().unwrap();
        assert_eq!(
            relay_urls(ip, 3478, true, Some((Some("call.example"), 443))),
            [
                "turn:198.51.100.1:3478?transport=udp",
                "turn:198.51.100.1:3478?transport=tcp",
                "turns:call.example:443?transport=tcp",
            ]
        );
        let ip = "2001:db8::1".parse().unwrap();
        assert_eq!(
            relay_urls(ip, 3478, true, Some((None, 443))),
            [
                "turn:[2001:db8::1]:3478?transport=udp",
                "turn:[2001:db8::1]:3478?transport=tcp",
                "turns:[2001:db8::1]:443?transport=tcp",
            ]
        );
        assert_eq!(relay_urls(ip, 1, false, None).len(), 1);
        assert_eq!(relay_urls(ip, 1, true, None).len(), 2);
    }
}
