//! What one instance may use.

use super::record::record;

record! {
    /// What one instance may use. Absent parts are Pulsar's defaults, see [`Resources::or_default`]. Source: Pulsar's
    /// `Resources`; there a part left out becomes its default while parsing, so that an update of `cpu` alone resets
    /// `ram`. Here it stays absent until it is asked for.
    pub struct Resources {
        /// Cores.
        cpu: "cpu" => Option<f64>,
        /// Bytes of memory.
        ram: "ram" => Option<i64>,
        /// Bytes of disk; kept, and not enforced.
        disk: "disk" => Option<i64>,
    }
}

impl Resources {
    /// One core, 1 GiB of memory, 10 GiB of disk.
    pub const DEFAULT: Self = Self { cpu: Some(1.0), ram: Some(1 << 30), disk: Some(10 << 30) };

    /// These, and the default for what they leave open.
    #[must_use]
    pub fn or_default(&self) -> Self {
        self.over(&Self::DEFAULT)
    }

    /// These, and `below` for what they leave open.
    #[must_use]
    pub fn over(&self, below: &Self) -> Self {
        Self { cpu: self.cpu.or(below.cpu), ram: self.ram.or(below.ram), disk: self.disk.or(below.disk) }
    }
}
