//! What a Java class says of its ancestors.
//!
//! Source: the Java Virtual Machine Specification, chapter 4.

/// Interfaces of one class, and bytes of a name: in a file both may be so many that their product fills the memory.
const INTERFACES_MAX: u16 = 200;
const NAME_BYTES_MAX: usize = 1 << 10;

/// The names of the class above it and of its interfaces, with dots; `None` where it is no class file, or of a kind that is not known here.
pub(super) fn ancestors(bytes: &[u8]) -> Option<Vec<String>> {
    let mut class = Reader(bytes);
    if class.u32()? != 0xCAFE_BABE {
        return None;
    }
    class.skip(4)?; // its version
    let constants = Constants::read(&mut class)?;
    class.skip(4)?; // access, and its own name
    let above = class.u16()?;
    let mut names = Vec::new();
    if above != 0 {
        names.push(constants.class_name(above)?);
    }
    let interfaces = class.u16().filter(|count| *count <= INTERFACES_MAX)?;
    for _ in 0..interfaces {
        names.push(constants.class_name(class.u16()?)?);
    }
    Some(names)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.take(count).map(drop)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }
}

#[derive(Clone, Copy)]
enum Constant<'a> {
    Text(&'a [u8]),
    Class(u16),
    Other,
}

struct Constants<'a>(Vec<Constant<'a>>);

impl<'a> Constants<'a> {
    fn read(class: &mut Reader<'a>) -> Option<Self> {
        let count = usize::from(class.u16()?);
        // Number 0 is none.
        let mut all = vec![Constant::Other];
        while all.len() < count {
            let (constant, rest) = match class.u8()? {
                1 => {
                    let bytes = class.u16()?;
                    (Constant::Text(class.take(bytes.into())?), 0)
                }
                7 => (Constant::Class(class.u16()?), 0),
                8 | 16 | 19 | 20 => (Constant::Other, 2),
                15 => (Constant::Other, 3),
                3 | 4 | 9..=12 | 17 | 18 => (Constant::Other, 4),
                // These take two numbers.
                5 | 6 => {
                    all.push(Constant::Other);
                    (Constant::Other, 8)
                }
                _ => return None,
            };
            class.skip(rest)?;
            all.push(constant);
        }
        Some(Self(all))
    }

    fn class_name(&self, number: u16) -> Option<String> {
        let Constant::Class(name) = *self.0.get(usize::from(number))? else { return None };
        let Constant::Text(name) = *self.0.get(usize::from(name))? else { return None };
        let name = Some(name).filter(|name| name.len() <= NAME_BYTES_MAX)?;
        Some(std::str::from_utf8(name).ok()?.replace('/', "."))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A class with these above it, the first of which is a class.
    pub(in crate::java) fn class_of(name: &str, above: &[&str]) -> Vec<u8> {
        let names: Vec<String> = std::iter::once(&name).chain(above).map(|name| name.replace('.', "/")).collect();
        let mut out = vec![0xCA, 0xFE, 0xBA, 0xBE, 0, 0, 0, 61];
        // A long before them, which has two numbers: names are 3, 5, ..., their classes 4, 6, ...
        out.extend((3 + 2 * names.len() as u16).to_be_bytes());
        out.push(5);
        out.extend(7u64.to_be_bytes());
        for (index, name) in (0u16..).zip(&names) {
            out.push(1);
            out.extend((name.len() as u16).to_be_bytes());
            out.extend(name.as_bytes());
            out.push(7);
            out.extend((3 + 2 * index).to_be_bytes());
        }
        out.extend([0, 0x21, 0, 4]);
        out.extend(6u16.to_be_bytes());
        out.extend((above.len() as u16 - 1).to_be_bytes());
        for index in 1..above.len() as u16 {
            out.extend((6 + 2 * index).to_be_bytes());
        }
        out.extend([0; 6]); // no fields, methods or attributes
        out
    }

    #[test]
    fn a_class_names_the_class_above_it_and_its_interfaces() {
        let class = class_of("a.B", &["a.Base", "java.io.Serializable", "a.Role$Inner"]);
        assert_eq!(ancestors(&class).unwrap(), ["a.Base", "java.io.Serializable", "a.Role$Inner"]);
    }

    #[test]
    fn a_class_of_too_many_or_too_long_names_is_none() {
        let many: Vec<_> = std::iter::repeat_n("a.Role", usize::from(INTERFACES_MAX) + 2).collect();
        assert!(ancestors(&class_of("a.B", &many[1..])).is_some());
        assert!(ancestors(&class_of("a.B", &many)).is_none());
        assert!(ancestors(&class_of("a.B", &["java.lang.Object", &"a".repeat(NAME_BYTES_MAX + 1)])).is_none());
    }

    #[test]
    fn whatever_is_cut_off_or_bent_is_none_or_names_and_no_panic() {
        let class = class_of("a.B", &["java.lang.Object", "a.Role"]);
        let needed = class.len() - 6;
        assert!((0..needed).all(|end| ancestors(&class[..end]).is_none()));
        for at in 0..class.len() {
            for bit in 0..8 {
                let mut bent = class.clone();
                bent[at] ^= 1 << bit;
                let _ = ancestors(&bent);
            }
        }
    }
}
