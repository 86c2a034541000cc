//! What manifests that are read together may have, all of them together.

/// All that is read together is at most this long, in bytes.
pub const MANIFEST_BYTES_MAX: usize = 4 << 20;
/// Documents, empty ones too.
const DOCUMENTS_MAX: usize = 10_000;
/// Values of all documents; those that an alias stands for are counted each time, and those that have an anchor once more.
const VALUES_MAX: usize = 200_000;
/// Bytes of all scalars, counted likewise, and of what is copied out of ConfigMaps: a few lines name a long value very often.
const TEXT_BYTES_MAX: usize = 16 << 20;

/// What is left of what may be read. Parts of one input share it, so that many small ones are no way around the limits.
#[derive(Debug)]
pub struct Room {
    limits: Used,
    used: Used,
    is_full: bool,
}

#[derive(Debug, Default)]
struct Used {
    bytes: usize,
    documents: usize,
    values: usize,
    text_bytes: usize,
}

impl Default for Room {
    /// For a whole input.
    fn default() -> Self {
        Self::of(Used {
            bytes: MANIFEST_BYTES_MAX,
            documents: DOCUMENTS_MAX,
            values: VALUES_MAX,
            text_bytes: TEXT_BYTES_MAX,
        })
    }
}

impl Room {
    fn of(limits: Used) -> Self {
        Self { limits, used: Used::default(), is_full: false }
    }

    /// For one value that is written as a text within a manifest; there may be thousands of these.
    pub(crate) fn of_one() -> Self {
        Self::of(Used { bytes: 64 << 10, documents: 1, values: 1000, text_bytes: 64 << 10 })
    }

    /// Whether more was there than may be; what was read is not all of it then.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// Counts a text of so many bytes.
    pub(crate) fn read(&mut self, bytes: usize) -> Result<(), String> {
        self.used.bytes += bytes;
        self.check(self.used.bytes > self.limits.bytes, |limits| {
            format!("the manifest is longer than {} bytes", limits.bytes)
        })
    }

    pub(crate) fn document(&mut self) -> Result<(), String> {
        self.used.documents += 1;
        self.check(self.used.documents > self.limits.documents, |limits| {
            format!("the manifest has more than {} documents", limits.documents)
        })
    }

    pub(crate) fn count(&mut self, values: usize, text_bytes: usize) -> Result<(), String> {
        self.used.values += values;
        self.used.text_bytes += text_bytes;
        let is_over = self.used.values > self.limits.values || self.used.text_bytes > self.limits.text_bytes;
        self.check(is_over, |limits| {
            format!("the manifest has more than {} values or {} bytes of text", limits.values, limits.text_bytes)
        })
    }

    /// A copy of a text for one more place that names it.
    pub(crate) fn copy(&mut self, text: &str) -> Result<String, String> {
        self.count(0, text.len())?;
        Ok(text.to_owned())
    }

    fn check(&mut self, is_over: bool, why: impl FnOnce(&Used) -> String) -> Result<(), String> {
        self.is_full |= is_over;
        if is_over { Err(why(&self.limits)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_copied_out_of_config_maps_has_a_bound() {
        let (mut room, value) = (Room::default(), "x".repeat(1 << 20));
        assert!((0..16).all(|_| room.copy(&value).is_ok()));
        assert!(room.copy(&value).is_err() && room.is_full());
    }
}
