//! What connectors do, driven through their link as the instance loop drives them.

#![allow(clippy::unwrap_used)]

mod data_generator;
mod file;
mod http;
mod kit;
mod postgres;
