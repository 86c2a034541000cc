//! Sessions over a socket, seen from the other side: frame by frame.

mod hostile;
mod peer;
mod protocol;
