//! Tests of [`call_room::Rooms`] over whole conversations and of [`call_room::sfu`] over whole
//! rooms, in virtual time.

mod care;
mod limits;
mod media;
mod model;
mod scenarios;
mod server;
mod sfu;
