//! What the journal promises, checked against disks that fail.

mod crash;
mod flips;
mod threads;
mod world;
