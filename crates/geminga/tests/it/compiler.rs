//! WASM components are compiled by a process of their own.

use std::{fs, path::Path};

use crate::{geminga, start};

/// A component that takes no message, which is enough to be deployed.
fn component(dir: &Path) -> String {
    let text = r#"(component
        (core module $m (func (export "run")))
        (core instance $i (instantiate $m))
        (func (export "run") (canon lift (core func $i "run"))))"#;
    let path = dir.join("idle.wasm");
    fs::write(&path, wat::parse_str(text).unwrap()).unwrap();
    path.to_str().unwrap().to_owned()
}

fn compiled(dir: &Path) -> usize {
    fs::read_dir(dir.join("functions/wasm")).unwrap().count()
}

#[test]
fn what_is_deployed_is_compiled_by_a_child_within_its_limit() {
    let dir = tempfile::tempdir().unwrap();
    let (code, data) = (component(dir.path()), dir.path().join("data"));
    let create = ["functions", "create", &code, "--name", "idle", "--inputs", "in"];

    let mut command = geminga(&data);
    command.env("GEMINGA_FUNCTIONS__WASM__COMPILE_MEMORY_BYTES", "4194304");
    let running = start(command);
    let (is_done, said) = running.run(&create);
    assert!(!is_done && said.contains("does not compile") && said.contains("memory"), "{said}");
    assert_eq!(compiled(&data), 0);
    assert_eq!(running.run(&["functions", "list"]), (true, String::new()), "the broker goes on");
    drop(running);

    let running = start(geminga(&data));
    let (is_done, said) = running.run(&create);
    assert!(is_done, "{said}");
    assert_eq!(compiled(&data), 1);
}
