//! Numbers, texts and lists as bytes, for catalog rows and journal records.
//!
//! Numbers are LEB128 (seven bits a byte, low first), signed ones zigzag; texts carry their length. Reading never panics and
//! never allocates more than the input is long.

use std::collections::BTreeMap;

/// The bytes are not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed {0}")]
pub struct Malformed(pub &'static str);

pub(crate) type Decoded<T> = Result<T, Malformed>;

pub(crate) fn put_u64(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn put_i64(out: &mut Vec<u8>, value: i64) {
    put_u64(out, ((value << 1) ^ (value >> 63)) as u64);
}

pub(crate) fn put_str(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u64(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(crate) fn put_map(out: &mut Vec<u8>, map: &BTreeMap<String, String>) {
    put_u64(out, map.len() as u64);
    for (key, value) in map {
        put_str(out, key);
        put_str(out, value);
    }
}

/// `None` is 0, so `Some` holds at most `u64::MAX - 1`.
pub(crate) fn put_option(out: &mut Vec<u8>, value: Option<u64>) {
    put_u64(out, value.map_or(0, |v| v.saturating_add(1)));
}

/// Reads what the `put_` functions wrote.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn u8(&mut self) -> Decoded<u8> {
        let (&first, rest) = self.rest.split_first().ok_or(Malformed("byte"))?;
        self.rest = rest;
        Ok(first)
    }

    pub(crate) fn u64(&mut self) -> Decoded<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed("number"))
    }

    pub(crate) fn u32(&mut self) -> Decoded<u32> {
        u32::try_from(self.u64()?).map_err(|_| Malformed("number"))
    }

    pub(crate) fn i64(&mut self) -> Decoded<i64> {
        let value = self.u64()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    pub(crate) fn option(&mut self) -> Decoded<Option<u64>> {
        Ok(self.u64()?.checked_sub(1))
    }

    /// A count of things that take at least a byte each.
    pub(crate) fn count(&mut self) -> Decoded<usize> {
        let count = self.u64()?;
        if count > self.rest.len() as u64 {
            return Err(Malformed("count"));
        }
        Ok(count as usize)
    }

    pub(crate) fn take(&mut self, length: usize) -> Decoded<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Malformed("bytes"))?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(crate) fn bytes(&mut self) -> Decoded<&'a [u8]> {
        let length = self.count()?;
        self.take(length)
    }

    pub(crate) fn str(&mut self) -> Decoded<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed("text"))
    }

    pub(crate) fn map(&mut self) -> Decoded<BTreeMap<String, String>> {
        let count = self.count()?;
        (0..count).map(|_| Ok((self.str()?.to_owned(), self.str()?.to_owned()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(n in any::<u64>(), i in any::<i64>(), s in ".*", o in prop::option::of(0..u64::MAX)) {
            let mut out = Vec::new();
            put_u64(&mut out, n);
            put_i64(&mut out, i);
            put_str(&mut out, &s);
            put_option(&mut out, o);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.u64().unwrap(), n);
            prop_assert_eq!(reader.i64().unwrap(), i);
            prop_assert_eq!(reader.str().unwrap(), s);
            prop_assert_eq!(reader.option().unwrap(), o);
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Reader::new(&bytes).u64();
            let _ = Reader::new(&bytes).map();
            let _ = Reader::new(&bytes).str();
        }
    }
}
