//! Whether a package has the class that is to run, said to the one who deploys it. Java itself is not asked: what cannot be told without it,
//! such as an ancestor that is not in the package, is let pass, and whoever starts it says what is wrong.
//!
//! Source of rules and texts: Pulsar's `FunctionConfigUtils.doJavaChecks`, `SinkConfigUtils` and `SourceConfigUtils`
//! (`validateAndExtractDetails`), `FunctionCommon.getSinkType`, `NarClassLoader`.

use functions::{FunctionSpec, Kind};
use model::function::BATCH_SOURCE_CONFIG_KEY;
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, VecDeque},
    fs::File,
    io::{self, Cursor, ErrorKind, Read, Seek},
    path::Path,
};

use super::{
    class_file,
    zip::{Entry, Zip},
};

const FUNCTION: &str = "org.apache.pulsar.functions.api.Function";
const WINDOW_FUNCTION: &str = "org.apache.pulsar.functions.api.WindowFunction";
const PLAIN_FUNCTION: &str = "java.util.function.Function";
const SOURCE: &str = "org.apache.pulsar.io.core.Source";
const BATCH_SOURCE: &str = "org.apache.pulsar.io.core.BatchSource";
const SINK: &str = "org.apache.pulsar.io.core.Sink";
/// What every class has above it, and the one interface of Java itself that is one of those.
const OBJECT: &str = "java.lang.Object";
const UNARY_OPERATOR: &str = "java.util.function.UnaryOperator";
/// Classes that the harness and the machine bring, or may.
const PROVIDED: [&str; 4] = [
    "java.",
    "org.apache.pulsar.functions.api.utils.",
    "org.apache.pulsar.io.core.",
    "org.apache.pulsar.io.batchdiscovery.",
];
/// What a NAR says of itself, and where its libraries are.
const DEFINITION: &str = "META-INF/services/pulsar-io.yaml";
const LIBRARIES: &str = "META-INF/bundled-dependencies/";
/// Classes of one release of Java, beside those of all.
const RELEASES: &str = "META-INF/versions/";

/// The largest of what is read: a class or a definition, and a library, which is unpacked in memory.
const FILE_BYTES_MAX: usize = 4 << 20;
const LIBRARY_BYTES_MAX: usize = 64 << 20;
const LIBRARIES_MAX: usize = 2_000;
/// Bytes of libraries that are unpacked for one check, and classes that are looked at: more is not asked for.
const UNPACKED_BYTES_MAX: usize = 1 << 30;
const ANCESTORS_MAX: usize = 200;

/// One at a time: each may have a library in memory.
static CHECKING: Mutex<()> = Mutex::new(());

/// Looks whether the function's class is in its package and is a function, a source or a sink.
///
/// # Errors
/// It is not, in words for the one who deploys it.
pub(super) fn check(function: &FunctionSpec, file: &Path) -> Result<(), String> {
    // Where it cannot be opened, starting it says so.
    let Ok(opened) = File::open(file) else { return Ok(()) };
    let mut package = match Package::open(opened) {
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            return Err(format!("{} cannot be read as a jar: {error}", file.display()));
        }
        Err(_) => return Ok(()),
        Ok(package) => package,
    };
    let _turn = CHECKING.lock();
    // What is damaged or too large to look at, Java may still be able to read.
    fits(function, &mut package).unwrap_or(Ok(()))
}

/// What is wrong, unless that cannot be told.
fn fits<R: Read + Seek>(function: &FunctionSpec, package: &mut Package<R>) -> io::Result<Result<(), String>> {
    let title = function.kind.title();
    let class = match function.class_name.trim() {
        "" => match package.definition()? {
            Some(definition) => match (named(&definition, function.kind), function.kind) {
                (Some(class), _) => class,
                (None, Kind::Function) => return Ok(Err("Function class name is not provided.".to_owned())),
                (None, kind) => return Ok(Err(format!("Failed to extract {kind} class from archive"))),
            },
            // One of its libraries may say it.
            None if !package.libraries.is_empty() => return Ok(Ok(())),
            None => return Ok(Err(format!("{title} package doesn't contain the {DEFINITION} file."))),
        },
        class => class.to_owned(),
    };
    let Some(bytes) = package.class(&class)? else {
        return Ok(if is_provided(&class) { Ok(()) } else { Err(missing(function.kind, &class)) });
    };
    let Some(is) = package.ancestors_of(&bytes)? else { return Ok(Ok(())) };
    let is = |role: &str| is.contains(role);
    let is_batch = function.user_config.contains_key(BATCH_SOURCE_CONFIG_KEY);
    Ok(match function.kind {
        Kind::Source if is(BATCH_SOURCE) && !is(SOURCE) && !is_batch => Err(format!(
            "Source class {class} implements {BATCH_SOURCE} but batch source source config is not specified"
        )),
        Kind::Source if is(SOURCE) || is(BATCH_SOURCE) => Ok(()),
        Kind::Sink if is(SINK) => Ok(()),
        Kind::Function if is(PLAIN_FUNCTION) => Ok(()),
        Kind::Function if function.window.is_some() && is(WINDOW_FUNCTION) => Ok(()),
        Kind::Function if function.window.is_none() && is(FUNCTION) => Ok(()),
        Kind::Function if is(WINDOW_FUNCTION) => {
            Err(format!("Function class {class} is a WindowFunction, and the function has no windowConfig"))
        }
        Kind::Function if is(FUNCTION) => Err(format!(
            "Function class {class} is no function of windows: with windowConfig it implements {WINDOW_FUNCTION}, or {PLAIN_FUNCTION} of a \
             collection"
        )),
        _ => Err(format!("{title} class {class} does not implement the correct interface")),
    })
}

fn missing(kind: Kind, class: &str) -> String {
    match kind {
        Kind::Function => format!("Function class {class} must be in class path"),
        Kind::Source => format!("Source class {class} not found in class loader"),
        Kind::Sink => format!("Sink class {class} not found"),
    }
}

fn is_provided(class: &str) -> bool {
    PROVIDED.iter().any(|prefix| class.starts_with(prefix))
}

/// The class that a definition names for this kind: one name and one text in each line, as the harness reads it.
fn named(definition: &str, kind: Kind) -> Option<String> {
    let member = format!("{kind}Class:");
    let text = definition.lines().find_map(|line| line.strip_prefix(&member))?;
    let is_comment = |at: &usize| text[..*at].ends_with(char::is_whitespace);
    let end = text.match_indices('#').map(|(at, _)| at).find(is_comment).unwrap_or(text.len());
    let class: String = text[..end].chars().filter(|c| !c.is_whitespace() && !matches!(c, '"' | '\'')).collect();
    Some(class).filter(|class| !class.is_empty())
}

/// A jar, or a NAR with libraries.
struct Package<R> {
    whole: Zip<R>,
    libraries: Vec<Entry>,
    /// Where a class was found last, and its number: what is above it mostly is there, too.
    last: Option<(usize, Zip<Cursor<Vec<u8>>>)>,
    /// Bytes that may still be unpacked.
    room: usize,
}

impl<R: Read + Seek> Package<R> {
    fn open(from: R) -> io::Result<Self> {
        let mut whole = Zip::open(from)?;
        let mut libraries = Vec::new();
        whole.each(|entry| {
            let is_library = entry.name.strip_prefix(LIBRARIES).is_some_and(|name| name.ends_with(".jar"));
            libraries.extend(Some(entry).filter(|_| is_library));
            libraries.len() < LIBRARIES_MAX
        })?;
        Ok(Self { whole, libraries, last: None, room: UNPACKED_BYTES_MAX })
    }

    /// What a NAR says of itself.
    fn definition(&mut self) -> io::Result<Option<String>> {
        let mut found = None;
        self.whole.each(|entry| {
            found = Some(entry).filter(|entry| entry.name == DEFINITION);
            found.is_none()
        })?;
        let Some(entry) = found else { return Ok(None) };
        self.whole.read(&entry, FILE_BYTES_MAX).map(|bytes| Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// A class file, wherever it is.
    fn class(&mut self, class: &str) -> io::Result<Option<Vec<u8>>> {
        let path = format!("{}.class", class.replace('.', "/"));
        if let Some(found) = class_in(&mut self.whole, &path)? {
            return Ok(Some(found));
        }
        let mut looked = None;
        if let Some((number, last)) = &mut self.last {
            if let Some(found) = class_in(last, &path)? {
                return Ok(Some(found));
            }
            looked = Some(*number);
        }
        self.last = None;
        for (number, library) in self.libraries.iter().enumerate().filter(|(number, _)| Some(*number) != looked) {
            let bytes = self.whole.read(library, LIBRARY_BYTES_MAX.min(self.room))?;
            self.room -= bytes.len();
            let mut library = Zip::open(Cursor::new(bytes))?;
            if let Some(found) = class_in(&mut library, &path)? {
                self.last = Some((number, library));
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The names of all that is above a class; `None` where that goes out of the package, but for what is known of Java itself.
    fn ancestors_of(&mut self, bytes: &[u8]) -> io::Result<Option<BTreeSet<String>>> {
        let Some(above) = class_file::ancestors(bytes) else { return Ok(None) };
        let mut all = BTreeSet::new();
        let mut next = VecDeque::from(above);
        let mut leaves = false;
        while let Some(name) = next.pop_front() {
            if !all.insert(name.clone()) || name == OBJECT {
                continue;
            }
            if name == UNARY_OPERATOR {
                next.push_back(PLAIN_FUNCTION.to_owned());
            }
            // What these have above them makes nothing a function.
            if name.starts_with("java.")
                || [FUNCTION, WINDOW_FUNCTION, SOURCE, BATCH_SOURCE, SINK].contains(&name.as_str())
            {
                continue;
            }
            if all.len() > ANCESTORS_MAX {
                return Ok(None);
            }
            match self.class(&name)?.as_deref().and_then(class_file::ancestors) {
                Some(above) => next.extend(above),
                None => leaves = true,
            }
        }
        Ok(Some(all).filter(|_| !leaves))
    }
}

fn class_in<R: Read + Seek>(zip: &mut Zip<R>, path: &str) -> io::Result<Option<Vec<u8>>> {
    let (mut of_all, mut of_release) = (None, None);
    zip.each(|entry| {
        if entry.name == path {
            of_all = Some(entry);
        } else if let Some((_, name)) = entry.name.strip_prefix(RELEASES).and_then(|rest| rest.split_once('/'))
            && name == path
        {
            of_release = Some(entry);
        }
        of_all.is_none()
    })?;
    of_all.or(of_release).map(|entry| zip.read(&entry, FILE_BYTES_MAX)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::java::{class_file::tests::class_of, zip::tests::zip_of};
    use functions::{
        spec::{Span, WindowSpec},
        testing,
    };

    const ROOT: &str = "java.lang.Object";

    /// A jar of classes, each with what is above it.
    fn jar(classes: &[(&str, &[&str])]) -> Vec<u8> {
        let files: Vec<_> = classes.iter().map(|(name, above)| (path(name), class_of(name, above))).collect();
        zip_of(&files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect::<Vec<_>>())
    }

    fn path(class: &str) -> String {
        format!("{}.class", class.replace('.', "/"))
    }

    fn windows() -> Option<WindowSpec> {
        Some(testing::windows(Span::Count(2), Span::Count(2)))
    }

    fn spec(kind: Kind, class: &str) -> FunctionSpec {
        FunctionSpec { kind, class_name: class.to_owned(), ..testing::spec("f") }
    }

    fn said(spec: &FunctionSpec, package: &[u8]) -> Result<(), String> {
        fits(spec, &mut Package::open(Cursor::new(package.to_vec())).unwrap()).unwrap_or(Ok(()))
    }

    fn refused(kind: Kind, class: &str, package: &[u8]) -> String {
        said(&spec(kind, class), package).unwrap_err()
    }

    #[test]
    fn a_class_that_is_not_there_is_told_in_pulsars_words() {
        let package = jar(&[("a.B", &[ROOT, FUNCTION])]);
        assert_eq!(refused(Kind::Function, "a.C", &package), "Function class a.C must be in class path");
        assert_eq!(refused(Kind::Source, "a.C", &package), "Source class a.C not found in class loader");
        assert_eq!(refused(Kind::Sink, "a.C", &package), "Sink class a.C not found");
        // What the harness itself has.
        let identity = "org.apache.pulsar.functions.api.utils.IdentityFunction";
        assert_eq!(said(&spec(Kind::Function, identity), &package), Ok(()));
    }

    #[test]
    fn a_class_is_what_any_of_its_ancestors_makes_it() {
        let package = jar(&[
            ("a.Direct", &[ROOT, "java.io.Serializable", FUNCTION]),
            ("a.Base", &[ROOT, FUNCTION]),
            ("a.Middle", &["a.Base"]),
            ("a.Derived$Inner", &["a.Middle"]),
            ("a.Plain", &[ROOT, PLAIN_FUNCTION]),
            ("a.Operator", &[ROOT, UNARY_OPERATOR]),
            ("a.Own", &[ROOT, "a.Step"]),
            ("a.Step", &[ROOT, "java.lang.Runnable", PLAIN_FUNCTION]),
            ("a.Elsewhere", &["not.in.the.Package"]),
            ("a.Round", &["a.Round2"]),
            ("a.Round2", &["a.Round"]),
            ("a.Nothing", &[ROOT, "java.io.Serializable"]),
            ("a.Sink", &[ROOT, SINK]),
        ]);
        for class in ["Direct", "Derived$Inner", "Plain", "Operator", "Own", "Elsewhere"] {
            assert_eq!(said(&spec(Kind::Function, &format!(" a.{class} ")), &package), Ok(()), "{class}");
        }
        for class in ["Nothing", "Round", "Sink"] {
            let text = format!("Function class a.{class} does not implement the correct interface");
            assert_eq!(refused(Kind::Function, &format!("a.{class}"), &package), text);
        }
        assert_eq!(said(&spec(Kind::Sink, "a.Sink"), &package), Ok(()));
        let text = "Source class a.Sink does not implement the correct interface";
        assert_eq!(refused(Kind::Source, "a.Sink", &package), text);
    }

    #[test]
    fn windows_and_batches_need_what_they_are_configured_as() {
        let package = jar(&[
            ("a.Window", &[ROOT, WINDOW_FUNCTION]),
            ("a.One", &[ROOT, FUNCTION]),
            ("a.Plain", &[ROOT, PLAIN_FUNCTION]),
            ("a.Batch", &[ROOT, BATCH_SOURCE]),
        ]);
        let windowed = |class: &str| FunctionSpec { window: windows(), ..spec(Kind::Function, class) };
        assert_eq!(said(&windowed("a.Window"), &package), Ok(()));
        assert_eq!(said(&windowed("a.Plain"), &package), Ok(()));
        assert!(said(&windowed("a.One"), &package).unwrap_err().contains("with windowConfig it implements"));
        assert!(refused(Kind::Function, "a.Window", &package).contains("has no windowConfig"));
        assert!(refused(Kind::Source, "a.Batch", &package).contains("batch source source config is not specified"));
        let mut batch = spec(Kind::Source, "a.Batch");
        batch.user_config.insert(BATCH_SOURCE_CONFIG_KEY.to_owned(), "{}".into());
        assert_eq!(said(&batch, &package), Ok(()));
    }

    #[test]
    fn a_nar_has_classes_in_its_libraries_and_may_name_its_own() {
        let definition = "name: x\nsinkClass: \"a.Sink\" # ours\nsourceClass: a.Gone\n".as_bytes().to_vec();
        let first = jar(&[("b.Other", &[ROOT])]);
        let second = jar(&[("a.Sink", &["b.Base"]), ("b.Nothing", &["b.Other"])]);
        let third = jar(&[("b.Base", &[ROOT, SINK])]);
        let nar = zip_of(&[
            (DEFINITION, definition),
            ("META-INF/bundled-dependencies/1.jar", first),
            ("META-INF/bundled-dependencies/2.jar", second),
            ("META-INF/bundled-dependencies/3.jar", third),
        ]);
        for class in ["", "a.Sink"] {
            assert_eq!(said(&spec(Kind::Sink, class), &nar), Ok(()), "{class}");
        }
        assert_eq!(
            refused(Kind::Sink, "b.Nothing", &nar),
            "Sink class b.Nothing does not implement the correct interface"
        );
        assert_eq!(refused(Kind::Source, "", &nar), "Source class a.Gone not found in class loader");
        assert_eq!(refused(Kind::Function, "", &nar), "Function class name is not provided.");
        let nameless = zip_of(&[(DEFINITION, b"name: x\nsourceClass:\n".to_vec())]);
        assert_eq!(refused(Kind::Source, "", &nameless), "Failed to extract source class from archive");
        let none = jar(&[("a.Sink", &[ROOT, SINK])]);
        assert_eq!(refused(Kind::Sink, "", &none), format!("Sink package doesn't contain the {DEFINITION} file."));
    }

    #[test]
    fn what_cannot_be_told_is_let_pass() {
        let of_release = zip_of(&[("META-INF/versions/17/a/B.class", class_of("a.B", &[ROOT, FUNCTION]))]);
        assert_eq!(said(&spec(Kind::Function, "a.B"), &of_release), Ok(()));
        let no_class = zip_of(&[("a/B.class", b"something else".to_vec())]);
        assert_eq!(said(&spec(Kind::Function, "a.B"), &no_class), Ok(()));
        let damaged = zip_of(&[("META-INF/bundled-dependencies/1.jar", b"no jar".to_vec())]);
        assert_eq!(said(&spec(Kind::Function, "a.B"), &damaged), Ok(()));
    }

    #[test]
    fn what_is_no_jar_at_all_is_refused_and_what_is_not_there_is_told_later() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f.jar");
        assert_eq!(check(&spec(Kind::Function, "a.B"), &file), Ok(()));
        std::fs::write(&file, "<html>404 Not Found</html>").unwrap();
        let why = check(&spec(Kind::Function, "a.B"), &file).unwrap_err();
        assert!(why.contains("f.jar cannot be read as a jar: it has no directory of a ZIP file"), "{why}");
        std::fs::write(&file, jar(&[("a.B", &[ROOT, FUNCTION])])).unwrap();
        assert_eq!(check(&spec(Kind::Function, "a.B"), &file), Ok(()));
    }
}
