//! What manifests come to, from the outside.

mod samples;
