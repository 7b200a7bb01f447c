//! Logging of the programs built on the engine: to standard error, without the WebRTC stack's
//! per-packet noise.

use tracing_subscriber::EnvFilter;

/// `zbus` warns of every object of the desktop's portal that has no properties, as most have none.
const ZBUS: &str = "zbus=error";

/// Starts logging by the `EnvFilter` directives in the environment variable `variable`, or by
/// `default` where it is unset or malformed. Call once, first thing in `main`.
pub fn start(variable: &str, default: &str) {
    let mut filter = EnvFilter::try_from_env(variable).unwrap_or_else(|_| EnvFilter::new(default));
    for directive in call_transport::LOG_DIRECTIVES.iter().chain([&ZBUS]) {
        if let Ok(directive) = directive.parse() {
            filter = filter.add_directive(directive);
        }
    }
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
