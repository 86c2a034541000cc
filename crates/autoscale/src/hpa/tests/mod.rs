//! Vectors from Kubernetes' own table tests: the same numbers in, the same numbers out.

mod controller;
mod limits;
mod replicas;
