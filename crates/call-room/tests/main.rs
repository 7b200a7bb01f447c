//! Tests of [`call_room::Rooms`] over whole conversations, in virtual time.

mod limits;
mod model;
mod scenarios;
mod server;
