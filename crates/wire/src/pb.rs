//! The little of protobuf that the hot paths need: reading fields in place, writing varints.

use bytes::{BufMut, BytesMut};

/// The bytes are not protobuf, or use groups, which the protocol does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed protobuf")]
pub struct Malformed;

/// One field's value as it is on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Fixed 32 or 64 bits: the protocol has none in what is read here, so the value is not kept.
    Fixed,
}

/// Walks over the fields of one message, borrowing; nested messages are a `Fields` of their own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) const fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The next field's number and value; `None` at the end.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = u32::try_from(self.varint()?).map_err(|_| Malformed)?;
        let field = key >> 3;
        if field == 0 {
            return Err(Malformed);
        }
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                self.take(8)?;
                Value::Fixed
            }
            2 => {
                let size = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                Value::Bytes(self.take(size)?)
            }
            5 => {
                self.take(4)?;
                Value::Fixed
            }
            _ => return Err(Malformed),
        };
        Ok(Some((field, value)))
    }

    #[inline]
    fn take(&mut self, size: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(size).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for (at, &byte) in self.rest.iter().take(10).enumerate() {
            // The tenth byte holds the one bit that is left of 64.
            if at == 9 && byte > 1 {
                return Err(Malformed);
            }
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                self.rest = &self.rest[at + 1..];
                return Ok(value);
            }
        }
        Err(Malformed)
    }
}

/// How many bytes `value` takes as a varint: 1 to 10.
#[inline]
pub(crate) const fn varint_len(value: u64) -> usize {
    ((64 - (value | 1).leading_zeros() as usize) * 9 + 64) / 64
}

#[inline]
pub(crate) fn put_varint(buf: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        buf.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    buf.put_u8(value as u8);
}

/// A varint field whose number is below 16, so that its key is one byte.
#[inline]
pub(crate) fn put_number(buf: &mut BytesMut, field: u8, value: u64) {
    buf.put_u8(field << 3);
    put_varint(buf, value);
}

/// What [`put_number`] takes.
#[inline]
pub(crate) const fn number_len(value: u64) -> usize {
    1 + varint_len(value)
}

/// The key and size of a length-delimited field whose number is below 16.
#[inline]
pub(crate) fn put_size(buf: &mut BytesMut, field: u8, size: usize) {
    buf.put_u8(field << 3 | 2);
    put_varint(buf, size as u64);
}

/// What a length-delimited field of `size` bytes takes with its key (below 16) and size.
#[inline]
pub(crate) const fn sized_len(size: usize) -> usize {
    1 + varint_len(size as u64) + size
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_agree_with_prost(value: u64, shift in 0..64_u32) {
            let value = value >> shift;
            let mut ours = BytesMut::new();
            put_varint(&mut ours, value);
            let mut theirs = Vec::new();
            prost::encoding::encode_varint(value, &mut theirs);
            prop_assert_eq!(&ours[..], &theirs[..]);
            prop_assert_eq!(varint_len(value), theirs.len());
            prop_assert_eq!(Fields::new(&ours).varint(), Ok(value));
        }

        #[test]
        fn varint_reading_agrees_with_prost_on_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            let theirs = prost::encoding::decode_varint(&mut &bytes[..]).map_err(|_| Malformed);
            prop_assert_eq!(Fields::new(&bytes).varint(), theirs);
        }
    }

    #[test]
    fn overlong_truncated_and_grouped_fields_are_malformed() {
        for bytes in [&[0x80; 11][..], &[0x0a, 5, 1], &[0x0b], &[0x00, 1], &[0x09, 1, 2], &[0x08], &[0x0d, 1]] {
            assert_eq!(Fields::new(bytes).next(), Err(Malformed), "{bytes:?}");
        }
    }
}
