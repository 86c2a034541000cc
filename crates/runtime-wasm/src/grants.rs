//! What a function was granted of the machine, by `customRuntimeOptions`: nothing, if it says nothing.
//!
//! ```json
//! {"wasm": {"env": {"MODE": "fast"}, "directories": [{"host": "/srv/models", "guest": "/models", "readOnly": true}],
//!           "network": ["db.example.org:5432"]}}
//! ```

use functions::{FunctionSpec, runtime::Secret};
use serde::Deserialize;
use std::{collections::BTreeMap, path::PathBuf};
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

use crate::{
    Config, Error, Result,
    network::{self, Place},
};

/// See the module.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Grants {
    env: BTreeMap<String, String>,
    directories: Vec<Directory>,
    network: Vec<String>,
    #[serde(skip)]
    places: Vec<Place>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Directory {
    host: PathBuf,
    guest: String,
    #[serde(default)]
    read_only: bool,
}

impl Grants {
    /// # Errors
    /// The options are not JSON; they grant a directory or an address that this broker does not let functions have.
    pub(crate) fn parse(function: &FunctionSpec, config: &Config) -> Result<Self> {
        let Some(options) = function.runtime_options.as_deref().filter(|options| !options.trim().is_empty()) else {
            return Ok(Self::default());
        };
        let options: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(options).map_err(|error| Error::Options(error.to_string()))?;
        let Some(ours) = options.get("wasm") else { return Ok(Self::default()) };
        let mut grants: Self =
            serde_json::from_value(ours.clone()).map_err(|error| Error::Options(format!("wasm: {error}")))?;
        for directory in &mut grants.directories {
            // Where links and `..` lead to counts, not how it is written.
            let real = directory.host.canonicalize();
            let real = real.map_err(|error| Error::Options(format!("{}: {error}", directory.host.display())))?;
            let is_allowed = |allowed: &PathBuf| allowed.canonicalize().is_ok_and(|allowed| real.starts_with(allowed));
            if !config.grantable_directories.iter().any(is_allowed) {
                return Err(Error::Options(format!(
                    "{} may not be granted: this broker's `grantable-directories` do not have it",
                    directory.host.display()
                )));
            }
            directory.host = real;
        }
        let place = |text: &String| Place::parse(text, &config.grantable_addresses).map_err(Error::Options);
        grants.places = grants.network.iter().map(place).collect::<Result<_>>()?;
        Ok(grants)
    }

    /// With variables that the function is given, too. What is granted by name comes before them.
    pub(crate) fn with_env(mut self, given: BTreeMap<String, Secret>) -> Self {
        for (name, Secret(value)) in given {
            self.env.entry(name).or_insert(value);
        }
        self
    }

    /// # Errors
    /// A directory cannot be opened any more.
    pub(crate) fn give(&self, wasi: &mut WasiCtxBuilder) -> Result<()> {
        for (name, value) in &self.env {
            wasi.env(name, value);
        }
        for Directory { host, guest, read_only } in &self.directories {
            let permissions = if *read_only { FsPerms::ReadOnly } else { FsPerms::ReadWrite };
            let opened = wasi.preopened_dir(host, guest, permissions);
            opened.map_err(|error| Error::Options(format!("{}: {error:#}", host.display())))?;
        }
        network::give(&self.places, wasi);
        Ok(())
    }
}
