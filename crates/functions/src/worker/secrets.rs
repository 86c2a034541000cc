//! Where the secrets of functions come from. Their values are in no configuration, no log and no answer.

use serde_json::Value;
use std::collections::BTreeMap;

use crate::runtime::Secret;

/// Finds secrets.
pub trait Secrets: Send + Sync + 'static {
    /// Values by the name a function uses; `wanted` says for each where it is found.
    ///
    /// # Errors
    /// In words for the one who deploys: one is not there, or is not this tenant's.
    fn resolve(&self, tenant: &str, wanted: &BTreeMap<String, Value>) -> Result<BTreeMap<String, Secret>, String>;
}

/// Secrets in this process' environment, each in a variable `FUNCTION_SECRET__<tenant>__<where>`; so a tenant's functions see its own
/// secrets, and nothing else of the environment. What is `where` is the text the configuration has, else the name itself.
///
/// Source: Pulsar's `EnvironmentBasedSecretsProvider`, which hands out every variable there is.
#[derive(Debug, Default, Clone, Copy)]
pub struct EnvironmentSecrets;

/// What the variables begin with.
const PREFIX: &str = "FUNCTION_SECRET__";

impl Secrets for EnvironmentSecrets {
    fn resolve(&self, tenant: &str, wanted: &BTreeMap<String, Value>) -> Result<BTreeMap<String, Secret>, String> {
        resolve_with(tenant, wanted, |variable| std::env::var(variable).ok())
    }
}

fn resolve_with(
    tenant: &str,
    wanted: &BTreeMap<String, Value>,
    read: impl Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, Secret>, String> {
    if !wanted.is_empty() && (tenant.contains("__") || tenant.ends_with('_')) {
        return Err(format!(
            "the tenant {tenant:?} has `__` in its name or `_` at its end, so its secrets could be another's"
        ));
    }
    let mut secrets = BTreeMap::new();
    for (name, place) in wanted {
        let place = place.as_str().filter(|place| !place.is_empty()).unwrap_or(name);
        let variable = format!("{PREFIX}{tenant}__{place}");
        let value = read(&variable)
            .ok_or_else(|| format!("the secret {name:?} is not there: set the environment variable {variable}"))?;
        secrets.insert(name.clone(), Secret(value));
    }
    Ok(secrets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(tenant: &str, wanted: Value) -> Result<BTreeMap<String, Secret>, String> {
        let wanted: BTreeMap<String, Value> = serde_json::from_value(wanted).unwrap();
        resolve_with(tenant, &wanted, |variable| {
            (variable == "FUNCTION_SECRET__public__API_KEY").then(|| "hunter2".to_owned())
        })
    }

    #[test]
    fn a_tenant_sees_its_own_secrets_only() {
        let found = check("public", json!({"key": "API_KEY"})).unwrap();
        assert_eq!(found["key"], Secret("hunter2".to_owned()));
        assert_eq!(check("public", json!({"API_KEY": null})).unwrap().len(), 1);
        assert!(check("other", json!({"key": "API_KEY"})).unwrap_err().contains("FUNCTION_SECRET__other__API_KEY"));
        assert!(check("public", json!({"key": "PATH"})).is_err());
        assert!(check("a__b", json!({"key": "API_KEY"})).is_err());
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert!(!format!("{:?}", check("public", json!({"key": "API_KEY"}))).contains("hunter2"));
    }
}
