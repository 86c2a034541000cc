//! What a manifest may say, as tables: each field with the shape of its value and what is done with it here.
//!
//! The tables are the custom resource definitions of Function Mesh 0.2x (`config/crd/bases`, `api/compute/v1alpha1`) and the
//! parts of Kubernetes' own types that are acted on. The reference in `docs/` is generated from them.

mod check;
mod kube;
mod mesh;
mod pod;
#[cfg(test)]
mod reference;

pub(crate) use check::{Checker, is_object_name, kept};
pub(crate) use mesh::{BACKEND_CONFIG, CONFIG_MAP, FUNCTION, FUNCTION_MESH, SECRET, SINK, SOURCE, spec_of};

/// What a value looks like.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    Text,
    Bool,
    /// A whole number of 32 bits, at least this.
    Int(i32),
    /// One of 64 bits.
    Long(i64),
    /// A number with a suffix, such as `500m` or `1Gi`.
    Quantity,
    /// One of these texts.
    Choice(&'static [&'static str]),
    /// Whatever is written; nothing in it is looked at.
    Any,
    /// A mapping with names of the user's.
    Object,
    List(&'static Shape),
    /// A mapping from names of the user's.
    Map(&'static Shape),
    Record(&'static Record),
    /// The same, of Kubernetes' own, which the reference leaves to Kubernetes.
    Core(&'static Record),
    /// A text that Kubernetes takes as the name of a resource.
    Name,
    /// A text that Kubernetes takes as the value of a label.
    Label,
}

/// A mapping with known names.
#[derive(Debug)]
pub(crate) struct Record {
    /// As the reference calls it.
    pub(crate) name: &'static str,
    /// Its fields, in parts that several records share.
    pub(crate) parts: &'static [&'static [Field]],
}

impl Record {
    pub(crate) fn fields(&self) -> impl Iterator<Item = &'static Field> + '_ {
        self.parts.iter().flat_map(|part| part.iter())
    }

    pub(crate) fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields().find(|field| field.name == name)
    }
}

/// One name within a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) need: Need,
    pub(crate) effect: Effect,
    /// What it does here, for the reference.
    #[cfg_attr(not(test), expect(dead_code, reason = "a test generates the reference"))]
    pub(crate) about: &'static str,
}

/// Who cannot do without a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Nobody,
    /// The API server refuses a resource without it; here it may be absent.
    Kubernetes,
    Everybody,
}

/// What is done with a field here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It does what it does on Kubernetes.
    Acts,
    /// It is kept for Kubernetes and has no effect here.
    Kept,
}

/// A field that acts.
const fn acts(name: &'static str, shape: Shape, about: &'static str) -> Field {
    Field { name, shape, need: Need::Nobody, effect: Effect::Acts, about }
}

/// A field that only Kubernetes makes something of.
const fn keeps(name: &'static str, shape: Shape, about: &'static str) -> Field {
    Field { name, shape, need: Need::Nobody, effect: Effect::Kept, about }
}

const fn required(field: Field) -> Field {
    Field { need: Need::Everybody, ..field }
}

/// A field that only Kubernetes cannot do without.
const fn wanted(field: Field) -> Field {
    Field { need: Need::Kubernetes, ..field }
}

const TEXTS: Shape = Shape::List(&Shape::Text);
const TEXT_MAP: Shape = Shape::Map(&Shape::Text);
const ANY_LIST: Shape = Shape::List(&Shape::Object);
