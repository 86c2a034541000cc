//! The web service over its socket: Pulsar's answers, and what a hostile peer gets.

#![allow(clippy::unwrap_used)] // A test that cannot go on says where.

mod functions;
mod hostile;
mod meshes;
mod rest;
mod schemas;
mod server;
