//! Children as the instance loop sees them: through their links.

#![allow(clippy::unwrap_used)] // A test that cannot go on says where.

mod hostile;
mod java;
mod kit;
mod packages;
mod process;
mod python;
mod python_source;
