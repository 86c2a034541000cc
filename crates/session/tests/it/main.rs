//! Sessions over a socket, seen from the other side: frame by frame.

#![allow(clippy::unwrap_used)] // A test that cannot go on says where.

mod hostile;
mod peer;
mod protocol;
