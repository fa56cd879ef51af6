//! Sessions that share server connections, against twins with a connection of their own: whatever a session has set,
//! counted or left behind, each answer is the one that its twin gets.

mod client;
mod pins;
mod random;
mod scripts;
mod stage;
mod traces;
