#![forbid(unsafe_code)]
//! What the proxy decides, without doing it: the session model, the topology as seen by the probes,
//! freshness, and the routing decision. Pure: no sockets, no clock (time is an argument), no files.
//! It never sees a payload byte; it speaks the vocabulary of `clonelove-sql` and `clonelove-wire`.

pub mod balance;
pub mod decide;
pub mod election;
pub mod failed;
mod found_rows;
pub mod freshness;
pub mod health;
pub mod journal;
pub mod pins;
pub mod position;
pub mod reason;
pub mod report;
pub mod session;
pub mod topology;
pub mod unhashed;
mod words;
