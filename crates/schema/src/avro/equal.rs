//! Whether two definitions say the same. Documentation and aliases do not count. Source: the `equals` methods of Avro's
//! `Schema`.

use std::collections::HashSet;

use super::{Avro, Field, Id, Record, Shape};

/// Two definitions with so many pairs of types are not the same before anybody needs to know.
const STEPS_MAX: usize = 1_000_000;

impl Avro {
    /// See the module.
    pub(crate) fn is_equal(&self, other: &Self) -> bool {
        // Pairs that were met are equal unless another pair says no, so that recursion ends.
        let mut met = HashSet::new();
        let mut open = vec![(self.root, other.root)];
        let mut steps = 0;
        while let Some((a, b)) = open.pop() {
            steps += 1;
            if steps > STEPS_MAX || !self.is_alike(other, (a, b), &mut met, &mut open) {
                return false;
            }
        }
        true
    }

    /// Compares two types but for those in them, which are left in `open`.
    fn is_alike(&self, other: &Self, (a, b): (Id, Id), met: &mut HashSet<(Id, Id)>, open: &mut Vec<(Id, Id)>) -> bool {
        if self.types[a].properties != other.types[b].properties {
            return false;
        }
        match (self.shape(a), other.shape(b)) {
            (Shape::Array(a), Shape::Array(b)) | (Shape::Map(a), Shape::Map(b)) => {
                open.push((*a, *b));
                true
            }
            (Shape::Union(a), Shape::Union(b)) => {
                open.extend(a.iter().copied().zip(b.iter().copied()));
                a.len() == b.len()
            }
            (Shape::Enum(a), Shape::Enum(b)) => a.named.name == b.named.name && a.symbols == b.symbols,
            (Shape::Fixed(a), Shape::Fixed(b)) => a.named.name == b.named.name && a.size == b.size,
            (Shape::Record(left), Shape::Record(right)) => !met.insert((a, b)) || is_alike_record(left, right, open),
            (a, b) => a.named().is_none() && a.keyword() == b.keyword(),
        }
    }
}

fn is_alike_record(a: &Record, b: &Record, open: &mut Vec<(Id, Id)>) -> bool {
    let same = |(a, b): (&Field, &Field)| {
        a.name == b.name && a.default == b.default && a.order == b.order && a.properties == b.properties
    };
    open.extend(a.fields.iter().zip(&b.fields).map(|(a, b)| (a.of, b.of)));
    a.named.name == b.named.name && a.fields.len() == b.fields.len() && a.fields.iter().zip(&b.fields).all(same)
}
