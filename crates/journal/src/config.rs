//! How large the journal may become and how it writes.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::block::{ALIGN, FILE_HEADER_BYTES, align_up};

/// Size of the journal, of its files and of its writes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The journal's own directory, on the disk that is to carry every publish.
    pub dir: PathBuf,
    /// What all journal files together may take on disk, in bytes. A file is given back when nothing needs it any more.
    pub capacity_bytes: u64,
    /// Size of one journal file, in bytes. The first ones are smaller.
    pub file_bytes: u64,
    /// Size of the first file in an empty directory, in bytes: it is zeroed before the first publish, so it is small.
    pub first_file_bytes: u64,
    /// Writes that may be on their way to the disk at the same time.
    pub writes_in_flight: usize,
    /// The longest single write, in bytes.
    pub write_bytes_max: usize,
    /// While n writes are in flight, another starts only when n times this many bytes wait.
    pub write_step_bytes: usize,
    /// Write around the page cache where the file system allows it.
    pub direct: bool,
    /// Fill the next file slowly while there is time, so that publishing has the disk.
    pub pace: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("journal"),
            capacity_bytes: 16 << 30,
            file_bytes: 256 << 20,
            first_file_bytes: 16 << 20,
            writes_in_flight: 4,
            write_bytes_max: 1 << 20,
            write_step_bytes: 64 << 10,
            direct: true,
            pace: true,
        }
    }
}

impl Config {
    /// The same configuration with every figure moved to the nearest one that works.
    pub(crate) fn normalized(mut self) -> Self {
        let align = ALIGN as u64;
        self.write_bytes_max = align_up(self.write_bytes_max.clamp(2 * ALIGN, 64 << 20));
        let smallest = FILE_HEADER_BYTES + 2 * self.write_bytes_max as u64;
        self.capacity_bytes = self.capacity_bytes.max(4 * smallest);
        self.file_bytes = self.file_bytes.clamp(smallest, self.capacity_bytes / 4).min(1 << 31) / align * align;
        self.first_file_bytes = self.first_file_bytes.clamp(smallest, self.file_bytes) / align * align;
        self.writes_in_flight = self.writes_in_flight.clamp(1, 64);
        self
    }
}
