//! From a server address as typed to a WebSocket URL.

use call_protocol::ErrorCode;
use call_protocol::wire::WEBSOCKET_PATH;

/// Longest address looked at, in bytes: a host name has at most 253.
const ADDRESS_BYTES: usize = 300;

/// Completes a server address: `wss://host[:port]`, `ws://…`, `https://…`, `http://…` or
/// `host[:port]` (taken as `wss`), with or without the path.
///
/// # Errors
/// [`ErrorCode::ServerAddressInvalid`] for everything else.
pub fn websocket_url(address: &str) -> Result<String, ErrorCode> {
    let address = address.trim();
    let (scheme, rest) = match address.split_once("://") {
        None => ("wss", address),
        Some((scheme, rest)) => match scheme.to_ascii_lowercase().as_str() {
            "wss" | "https" => ("wss", rest),
            "ws" | "http" => ("ws", rest),
            _ => return Err(ErrorCode::ServerAddressInvalid),
        },
    };
    let authority = rest
        .strip_suffix(WEBSOCKET_PATH)
        .unwrap_or(rest)
        .trim_end_matches('/');
    if address.len() <= ADDRESS_BYTES && is_authority(authority) {
        Ok(format!("{scheme}://{authority}{WEBSOCKET_PATH}"))
    } else {
        Err(ErrorCode::ServerAddressInvalid)
    }
}

/// `host`, `host:port`, `[ipv6]` or `[ipv6]:port`.
fn is_authority(text: &str) -> bool {
    let (host_ok, port) = if let Some(rest) = text.strip_prefix('[') {
        let Some((host, port)) = rest.split_once(']') else {
            return false;
        };
        (host.parse::<std::net::Ipv6Addr>().is_ok(), port)
    } else {
        let (host, port) = text
            .find(':')
            .map_or((text, ""), |colon| text.split_at(colon));
        let is_host = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
        (!host.is_empty() && host.chars().all(is_host), port)
    };
    let is_port = |port: &str| {
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse().is_ok_and(|p: u16| p > 0)
    };
    host_ok && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_become_urls() {
        let cases = [
            ("call.example", "wss://call.example/v1/ws"),
            (" call.example:8443 ", "wss://call.example:8443/v1/ws"),
            ("wss://call.example/", "wss://call.example/v1/ws"),
            ("HTTPS://call.example", "wss://call.example/v1/ws"),
            ("ws://127.0.0.1:7000", "ws://127.0.0.1:7000/v1/ws"),
            ("ws://127.0.0.1:7000/v1/ws", "ws://127.0.0.1:7000/v1/ws"),
            ("http://[::1]:80", "ws://[::1]:80/v1/ws"),
            ("[fe80::1]", "wss://[fe80::1]/v1/ws"),
        ];
        for (address, want) in cases {
            assert_eq!(websocket_url(address).as_deref(), Ok(want), "{address}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let long = "a".repeat(ADDRESS_BYTES + 1);
        let cases = [
            "",
            " ",
            "ftp://a",
            "wss://",
            "a b",
            "a:",
            "a:0",
            "a:65536",
            "a:+80",
            "a:x",
            "a/b",
            "user@host",
            "[::1",
            "[x]",
            "::1",
            "ws://a?b",
            "wss://a#b",
            &long,
        ];
        for address in cases {
            assert_eq!(
                websocket_url(address),
                Err(ErrorCode::ServerAddressInvalid),
                "{address}"
            );
        }
    }
}
