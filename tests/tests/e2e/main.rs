//! End-to-end tests: real servers, the real binary, real clients. One binary, so that it links once.

mod drupal;
mod replay;
mod routing;
