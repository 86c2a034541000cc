//! What connectors do, driven through their link as the instance loop drives them.

mod data_generator;
mod file;
mod http;
mod kit;
mod postgres;
