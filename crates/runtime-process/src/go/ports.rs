//! Ports for programs that take a number and listen there.

use parking_lot::Mutex;
use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, TcpListener},
    sync::Arc,
};

/// Ports given to instances of this process, so that no two of them get the same one.
///
/// Between the choice and the program's `listen` somebody else on the machine may take a port. Then the program ends with an error, and
/// starts again with another one.
#[derive(Clone, Debug, Default)]
pub(super) struct Ports {
    taken: Arc<Mutex<BTreeSet<u16>>>,
}

impl Ports {
    /// A port that was free on all addresses a moment ago; the Go SDK listens on all of them.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn take(&self) -> io::Result<Port> {
        // Held until one is found, so that none is found twice.
        let mut refused = Vec::new();
        loop {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            let number = listener.local_addr()?.port();
            if self.taken.lock().insert(number) {
                return Ok(Port { number, ports: self.clone() });
            }
            refused.push(listener);
        }
    }
}

/// A port; dropped, others may have it.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) number: u16,
    ports: Ports,
}

impl Drop for Port {
    fn drop(&mut self) {
        self.ports.taken.lock().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_instances_have_the_same_port() {
        let ports = Ports::default();
        let taken: Vec<Port> = (0..100).map(|_| ports.take().unwrap()).collect();
        let numbers: BTreeSet<u16> = taken.iter().map(|port| port.number).collect();
        assert_eq!(numbers.len(), 100);
        drop(taken);
        assert!(ports.taken.lock().is_empty());
    }
}
