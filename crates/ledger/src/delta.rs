//! A change of a topic's state other than an append, as the journal keeps it.

use bytes::Bytes;
use std::collections::BTreeMap;

use crate::{
    codec::{Decoded, Malformed, Reader, put_i64, put_map, put_str, put_u64},
    cursor::Acks,
    state::{Retention, decode_retention, encode_retention},
};

/// See the module. Slots number the cursors of a topic; ordinals are those of [`crate::state`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Delta {
    CursorOpen {
        slot: u32,
        name: String,
        next: u64,
        properties: BTreeMap<String, String>,
    },
    CursorDelete {
        slot: u32,
    },
    CursorReset {
        slot: u32,
        next: u64,
    },
    CursorProperties {
        slot: u32,
        properties: BTreeMap<String, String>,
    },
    Acks {
        slot: u32,
        acks: Acks,
    },
    /// Ledgers below this one are gone.
    Trim {
        ledger: u64,
    },
    Properties(BTreeMap<String, String>),
    Retention(Retention),
    Dedup(Vec<(String, i64)>),
    DedupRemove(Vec<String>),
}

impl Delta {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::CursorOpen { slot, name, next, properties } => {
                out.push(1);
                put_u64(out, u64::from(*slot));
                put_str(out, name);
                put_u64(out, *next);
                put_map(out, properties);
            }
            Self::CursorDelete { slot } => {
                out.push(2);
                put_u64(out, u64::from(*slot));
            }
            Self::CursorReset { slot, next } => {
                out.push(3);
                put_u64(out, u64::from(*slot));
                put_u64(out, *next);
            }
            Self::CursorProperties { slot, properties } => {
                out.push(4);
                put_u64(out, u64::from(*slot));
                put_map(out, properties);
            }
            Self::Acks { slot, acks } => {
                out.push(5);
                put_u64(out, u64::from(*slot));
                acks.encode(out);
            }
            Self::Trim { ledger } => {
                out.push(6);
                put_u64(out, *ledger);
            }
            Self::Properties(properties) => {
                out.push(7);
                put_map(out, properties);
            }
            Self::Retention(retention) => {
                out.push(8);
                encode_retention(out, Some(*retention));
            }
            Self::Dedup(producers) => {
                encode_dedup(out, producers.iter().map(|(name, highest)| (name.as_str(), *highest)));
            }
            Self::DedupRemove(producers) => {
                out.push(10);
                put_u64(out, producers.len() as u64);
                producers.iter().for_each(|name| put_str(out, name));
            }
        }
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(match r.u8()? {
            1 => Self::CursorOpen { slot: r.u32()?, name: r.str()?.to_owned(), next: r.u64()?, properties: r.map()? },
            2 => Self::CursorDelete { slot: r.u32()? },
            3 => Self::CursorReset { slot: r.u32()?, next: r.u64()? },
            4 => Self::CursorProperties { slot: r.u32()?, properties: r.map()? },
            5 => Self::Acks { slot: r.u32()?, acks: Acks::decode(r)? },
            6 => Self::Trim { ledger: r.u64()? },
            7 => Self::Properties(r.map()?),
            8 => Self::Retention(decode_retention(r)?.ok_or(Malformed("retention"))?),
            9 => {
                let count = r.count()?;
                Self::Dedup((0..count).map(|_| Ok((r.str()?.to_owned(), r.i64()?))).collect::<Decoded<_>>()?)
            }
            10 => {
                let count = r.count()?;
                Self::DedupRemove((0..count).map(|_| Ok(r.str()?.to_owned())).collect::<Decoded<_>>()?)
            }
            _ => return Err(Malformed("change")),
        })
    }
}

/// [`Delta::Dedup`] without owning the names.
pub(crate) fn encode_dedup<'a>(out: &mut Vec<u8>, producers: impl ExactSizeIterator<Item = (&'a str, i64)>) {
    out.push(9);
    put_u64(out, producers.len() as u64);
    for (name, highest) in producers {
        put_str(out, name);
        put_i64(out, highest);
    }
}

/// Bytes of one record at which another is begun; one change may go beyond it.
pub(crate) const RECORD_BYTES: usize = 16 << 20;

/// Changes of one topic in a row, encoded, as the bodies of as many records as they need.
#[derive(Default)]
pub(crate) struct Deltas {
    bytes: Vec<u8>,
    /// Where records end, but for the last.
    cuts: Vec<usize>,
}

impl Deltas {
    /// Where to encode the next change.
    pub(crate) fn next(&mut self) -> &mut Vec<u8> {
        let begun = self.cuts.last().copied().unwrap_or(0);
        if self.bytes.len() - begun >= RECORD_BYTES {
            self.cuts.push(self.bytes.len());
        }
        &mut self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn seal(self) -> Sealed {
        Sealed { bytes: self.bytes.into(), cuts: self.cuts }
    }
}

/// [`Deltas`] that a commit is made of.
#[derive(Default)]
pub(crate) struct Sealed {
    bytes: Bytes,
    cuts: Vec<usize>,
}

impl Sealed {
    /// The bodies, none of them empty.
    pub(crate) fn bodies(&self) -> impl Iterator<Item = Bytes> {
        let starts = [0].into_iter().chain(self.cuts.iter().copied());
        let ends = self.cuts.iter().copied().chain([self.bytes.len()]);
        starts.zip(ends).filter(|(start, end)| start < end).map(|(start, end)| self.bytes.slice(start..end))
    }

    pub(crate) fn unseal(self) -> Deltas {
        Deltas { bytes: self.bytes.into(), cuts: self.cuts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn every_change_is_read_as_written() {
        let map: BTreeMap<_, _> = [("a".to_owned(), "b".to_owned())].into();
        let acks = Acks { next: 7, ranges: vec![(9, 11), (20, 21)], partial: vec![(8, [5, 6].into_iter().collect())] };
        let all = [
            Delta::CursorOpen { slot: 3, name: "sub".into(), next: 1 << 40, properties: map.clone() },
            Delta::CursorDelete { slot: 0 },
            Delta::CursorReset { slot: 1, next: 2 },
            Delta::CursorProperties { slot: 1, properties: map.clone() },
            Delta::Acks { slot: 2, acks },
            Delta::Trim { ledger: 99 },
            Delta::Properties(map),
            Delta::Retention(Retention { time: Some(Duration::from_secs(60)), bytes: None }),
            Delta::Dedup(vec![("p".into(), -1), ("q".into(), i64::MAX)]),
            Delta::DedupRemove(vec!["p".into()]),
        ];
        let mut bytes = Vec::new();
        all.iter().for_each(|d| d.encode(&mut bytes));
        let mut reader = Reader::new(&bytes);
        for delta in &all {
            assert_eq!(&Delta::decode(&mut reader).unwrap(), delta);
        }
        assert!(reader.is_empty());
    }

    #[test]
    fn many_changes_are_several_records() {
        assert_eq!(Deltas::default().seal().bodies().count(), 0);
        let mut deltas = Deltas::default();
        let all: Vec<_> = (0..5).map(|n| Delta::DedupRemove(vec![n.to_string().repeat(RECORD_BYTES / 2)])).collect();
        for (n, delta) in all.iter().enumerate() {
            delta.encode(deltas.next());
            if n == 2 {
                deltas = deltas.seal().unseal();
            }
        }
        let bodies: Vec<_> = deltas.seal().bodies().collect();
        assert_eq!(bodies.len(), 3);
        let mut read = Vec::new();
        for body in bodies {
            assert!(body.len() <= RECORD_BYTES + 100);
            let mut reader = Reader::new(&body);
            while !reader.is_empty() {
                read.push(Delta::decode(&mut reader).unwrap());
            }
        }
        assert!(read == all);
    }
}
