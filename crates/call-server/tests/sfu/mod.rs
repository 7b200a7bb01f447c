//! The SFU over real sockets on loopback, with str0m as members.

mod channels;
mod hostile;
mod media;
mod signalling;
mod world;
