//! Children as the instance loop sees them: through their links.

mod kit;
mod python;
