//! End-to-end tests: real servers, the real binary, real clients. One binary, so that it links once.

mod binlog;
mod bound;
mod checker;
mod clients;
mod commands;
mod daemon;
mod drupal;
mod faults;
mod freshness;
mod freshness_rules;
mod hostile;
mod keys;
mod knowledge;
mod memory;
mod offload;
mod poisoning;
mod pools;
mod prepared;
mod replay;
mod roles;
mod routing;
mod schema;
mod sharing;
mod support;
mod tls;
mod transparency;
