//! Sessions that share server connections, against twins with a connection of their own: whatever a session has set,
//! counted or left behind, each answer is the one that its twin gets.

pub(crate) mod client;
mod pins;
mod random;
mod replicas;
mod scripts;
pub(crate) mod stage;
mod traces;
