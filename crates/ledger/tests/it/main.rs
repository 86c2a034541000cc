//! The ledger store on real files: what was durable is there after a stop at any moment, and what nobody needs gives its space back.

#![allow(clippy::unwrap_used)] // A test that unwraps has said what it expects.

mod busy;
mod damage;
mod fixture;
mod model;
mod others;
mod power;
mod recovery;
mod space;
mod tables;
mod topics;
mod uncommitted;
