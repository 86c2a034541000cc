//! Secrets of a function that has a process, or a pod, of its own.

use functions::{FunctionSpec, runtime::Secret};
use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// The secrets a function names, each in the environment variable of its name: Function Mesh puts them there. No other variable is handed
/// out. `read` is [`std::env::var`], but for tests.
///
/// # Errors
/// [`Error::Secret`]: one is not there.
pub fn secrets(function: &FunctionSpec, read: impl Fn(&str) -> Option<String>) -> Result<BTreeMap<String, Secret>> {
    let find = |name: &String| match read(name) {
        Some(value) => Ok((name.clone(), Secret(value))),
        None => Err(Error::Secret(name.clone())),
    };
    function.secrets.keys().map(find).collect()
}
