//! What a manifest may say, as tables: each field with the shape of its value and what is done with it here.
//!
//! The tables are the custom resource definitions of Function Mesh 0.2x (`config/crd/bases`, `api/compute/v1alpha1`) and the
//! parts of Kubernetes' own types that are acted on. The reference in `docs/` is generated from them.

mod check;
mod kube;
mod mesh;
#[cfg(test)]
mod reference;

pub(crate) use check::{Checker, kept};
pub(crate) use mesh::{BACKEND_CONFIG, CONFIG_MAP, FUNCTION, FUNCTION_MESH, SECRET, SINK, SOURCE, spec_of};

/// What a value looks like.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    Text,
    Bool,
    /// A whole number, at least this.
    Int(i64),
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
    pub(crate) is_required: bool,
    pub(crate) effect: Effect,
    /// What it does here, for the reference.
    #[cfg_attr(not(test), expect(dead_code, reason = "a test generates the reference"))]
    pub(crate) about: &'static str,
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
    Field { name, shape, is_required: false, effect: Effect::Acts, about }
}

/// A field that only Kubernetes makes something of.
const fn keeps(name: &'static str, shape: Shape, about: &'static str) -> Field {
    Field { name, shape, is_required: false, effect: Effect::Kept, about }
}

const fn required(field: Field) -> Field {
    Field { is_required: true, ..field }
}

const TEXTS: Shape = Shape::List(&Shape::Text);
const TEXT_MAP: Shape = Shape::Map(&Shape::Text);
const ANY_LIST: Shape = Shape::List(&Shape::Object);
