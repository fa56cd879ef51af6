//! What the side-by-side benches are made of: the lean load generator and its workloads. The commands that start
//! and compare whole processes are `cargo xtask bench`'s; docs/performance.md has the method.
#![forbid(unsafe_code)]

pub mod client;
pub mod delay;
pub mod drive;
pub mod recordings;
pub mod reply;
pub mod stream;
pub mod workload;
