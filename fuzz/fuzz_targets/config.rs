//! Any text as the configuration of a function, a source and a sink: no panic, problems in few words, and what is
//! accepted is accepted again as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use model::function::{CONFIG_BYTES_MAX, Component, Draft, FunctionConfig, GoInstance, Host, SinkConfig, SourceConfig};

fuzz_target!(|text: &str| {
    check::<SourceConfig>(text);
    check::<SinkConfig>(text);
    if let Some(function) = check::<FunctionConfig>(text) {
        let _ = function.resolved_inputs();
        let _ = GoInstance::default().conf(&function);
    }
});

fn check<C: Component>(text: &str) -> Option<C> {
    let config = match Draft::<C>::read(text).at("t", "n", "f").finish(Host::Geminga) {
        Ok(config) => config,
        Err(problems) => {
            assert!(!problems.is_empty());
            assert!(problems.to_string().len() < 500_000);
            return None;
        }
    };
    let json = serde_json::to_string(&config).unwrap();
    assert!(json.len() < 16 * CONFIG_BYTES_MAX);
    assert_eq!(Draft::<C>::read(&json).finish(Host::Geminga).as_ref(), Ok(&config));
    assert_eq!(config.updated(&config).as_ref(), Ok(&config));
    let _ = config.details();
    Some(config)
}
