//! What a function, a source and a sink have in common, so that whoever manages them is written once.

use super::{
    config::FunctionConfig,
    defaults, details,
    problem::Problems,
    record::Record,
    sink::SinkConfig,
    source::SourceConfig,
    update,
    validate::{self, Host},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::fmt;

/// The configuration of a function, a source or a sink. Sealed: there are these three.
///
/// On create: [`super::Draft::read`], [`super::Draft::at`], [`super::Draft::finish`]. On update: read the partial
/// configuration with [`super::Draft::at`] and [`super::Draft::partial`], then [`Component::updated`] of the stored one.
#[expect(private_bounds, reason = "sealed: only this crate's records implement Record")]
pub trait Component:
    Record + Clone + fmt::Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// `Function`, `Source` or `Sink`, as Pulsar's messages begin.
    const KIND: &'static str;

    /// Tenant, empty where none is given.
    fn tenant(&self) -> &str;
    /// Namespace without its tenant, empty where none is given.
    fn namespace(&self) -> &str;
    /// Name within the namespace, empty where none is given.
    fn name(&self) -> &str;
    /// Instances there should be; 1 where nothing is said.
    fn parallelism(&self) -> u32;
    /// Puts it where a request's path says; what the body says goes under, as in Pulsar.
    fn place(&mut self, tenant: &str, namespace: &str, name: &str);

    /// Fills in what follows from the rest or has a default. Source: `inferMissingArguments`.
    fn fill_defaults(&mut self);

    /// Whether it makes sense, its defaults being filled in.
    ///
    /// # Errors
    /// Everything that does not hold, in Pulsar's words where Pulsar refuses it too.
    fn validate(&self, host: Host) -> Result<(), Problems>;

    /// One way to say it: every default written out, inputs all in `inputSpecs`. This is what is stored, what REST
    /// returns (in Pulsar: `convertFromDetails`) and what updates are compared with.
    #[must_use]
    fn normalized(self) -> Self;

    /// This normal configuration with the fields that `partial` has, normal and with defaults again. Whether it makes
    /// sense is for [`Component::validate`]; equal to this one, "Update contains no change" ([`super::NO_CHANGE`]).
    ///
    /// # Errors
    /// Every field that must not change and does, in Pulsar's words. Source: `validateUpdate`.
    fn updated(&self, partial: &Self) -> Result<Self, Problems>;

    /// `FunctionDetails` as protobuf's JSON, for instances that take `--function_details`. Of a normal configuration.
    fn details(&self) -> Value;

    /// `tenant/namespace/name`.
    fn fqfn(&self) -> String {
        format!("{}/{}/{}", self.tenant(), self.namespace(), self.name())
    }
}

macro_rules! component {
    ($config:ty, $kind:literal, $check:path, $fill:path, $normalize:path, $update:path, $details:path) => {
        impl Component for $config {
            const KIND: &'static str = $kind;

            fn tenant(&self) -> &str {
                self.tenant.as_deref().unwrap_or_default()
            }
            fn namespace(&self) -> &str {
                self.namespace.as_deref().unwrap_or_default()
            }
            fn name(&self) -> &str {
                self.name.as_deref().unwrap_or_default()
            }
            fn parallelism(&self) -> u32 {
                self.parallelism.and_then(|parallelism| u32::try_from(parallelism).ok()).unwrap_or(1)
            }
            fn place(&mut self, tenant: &str, namespace: &str, name: &str) {
                self.tenant = Some(tenant.to_owned());
                self.namespace = Some(namespace.to_owned());
                self.name = Some(name.to_owned());
            }
            fn fill_defaults(&mut self) {
                $fill(self);
            }
            fn validate(&self, host: Host) -> Result<(), Problems> {
                $check(self, host)
            }
            fn normalized(self) -> Self {
                $normalize(self)
            }
            fn updated(&self, partial: &Self) -> Result<Self, Problems> {
                $update(self, partial)
            }
            fn details(&self) -> Value {
                $details(self)
            }
        }
    };
}

component!(
    FunctionConfig,
    "Function",
    validate::check_function,
    defaults::fill_function,
    defaults::normalize_function,
    update::function,
    details::of_function
);
component!(
    SourceConfig,
    "Source",
    validate::check_source,
    defaults::fill_source,
    defaults::normalize_source,
    update::source,
    details::of_source
);
component!(
    SinkConfig,
    "Sink",
    validate::check_sink,
    defaults::fill_sink,
    defaults::normalize_sink,
    update::sink,
    details::of_sink
);
