//! Connections to servers: how one is made and set up, how its small replies are read, how idle ones
//! are kept. Must not know clients.

pub(crate) mod conn;
pub(crate) mod login;
pub(crate) mod pool;
pub(crate) mod reply;
pub(crate) mod setup;
pub(crate) mod statements;
pub(crate) mod warm;
