use super::*;

/// What differs from machine to machine is which of the ways is taken; a cage is there in any case.
#[tokio::test]
async fn a_cage_can_be_made_twice_and_leaves_nothing() {
    let limits = Limits::detect();
    let wanted = functions::spec::Limits { cpu: Some(0.5), ram_bytes: Some(64 << 20), disk_bytes: None };
    for name in ["a", "a", "b"] {
        let cage = limits.cage(name, &wanted);
        assert_eq!(cage.join_files().unwrap().is_empty(), cage.group.is_none());
        assert_eq!(cage.kill().await, cage.group.is_some());
        assert_eq!(cage.killed(), None);
    }
}
