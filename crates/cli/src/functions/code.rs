//! What a file is: which language, which name, which class. Looked at here, so that `create exclaim.py` says enough.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// What `pulsar-function-go` leaves in a binary that uses it.
const GO_SDK: &[u8] = b"pulsar-function-go";
const ELF: &[u8] = b"\x7fELF";
/// Bytes of a Python file that are looked at.
const SOURCE_BYTES_MAX: u64 = 4 << 20;

/// The field of the configuration a file, or a URL by its end, belongs to. `None`: nothing tells what it is.
///
/// # Errors
/// The file cannot be read.
pub(super) fn field(path: &Path) -> io::Result<Option<&'static str>> {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    match extension.as_str() {
        "py" | "whl" | "zip" => return Ok(Some("py")),
        "jar" | "nar" => return Ok(Some("jar")),
        "wasm" => return Ok(Some("wasm")),
        _ => {}
    }
    if path.to_string_lossy().contains("://") {
        return Ok(None);
    }
    let mut file = File::open(path)?;
    let mut head = Vec::new();
    file.by_ref().take(4).read_to_end(&mut head)?;
    Ok(if head == ELF {
        Some(if contains(&mut file, GO_SDK)? { "go" } else { "exec" })
    } else if head.starts_with(b"\0asm") {
        Some("wasm")
    } else {
        head.starts_with(b"#!").then_some("exec")
    })
}

/// Whether what is left of a file has `wanted` in it.
fn contains(file: &mut File, wanted: &[u8]) -> io::Result<bool> {
    let mut piece = vec![0; 1 << 20];
    let mut kept = 0;
    loop {
        let read = file.read(&mut piece[kept..])?;
        if read == 0 {
            return Ok(false);
        }
        let filled = kept + read;
        if piece[..filled].windows(wanted.len()).any(|window| window == wanted) {
            return Ok(true);
        }
        // What is wanted may lie across two pieces.
        kept = filled.min(wanted.len() - 1);
        piece.copy_within(filled - kept..filled, 0);
    }
}

/// A name for what is in a file: without its extension, and without version and platform of a wheel.
pub(super) fn name(path: &Path) -> Option<&str> {
    let stem = path.file_stem()?.to_str()?;
    let is_wheel = path.extension().is_some_and(|extension| extension == "whl");
    Some(if is_wheel { stem.split('-').next().unwrap_or(stem) } else { stem }).filter(|name| !name.is_empty())
}

/// The class names one might mean in a Python file; with one there is no question.
///
/// # Errors
/// The file cannot be read.
pub(super) fn python_classes(path: &Path) -> io::Result<Vec<String>> {
    let mut source = Vec::new();
    File::open(path)?.take(SOURCE_BYTES_MAX).read_to_end(&mut source)?;
    let module = name(path).unwrap_or_default();
    Ok(entries(&String::from_utf8_lossy(&source))
        .into_iter()
        .map(|entry| if entry.is_empty() { module.to_owned() } else { format!("{module}.{entry}") })
        .collect())
}

/// What can be called in a Python module, the likeliest kind alone: classes with `process`; the module itself, as an
/// empty text, when it has a function `process`; otherwise its public functions.
fn entries(source: &str) -> Vec<&str> {
    let (mut classes, mut functions) = (Vec::<(&str, bool)>::new(), Vec::new());
    let mut in_class = false;
    let mut in_text = None;
    for line in source.lines() {
        // Texts over several lines are skipped, as long as nobody is sly with their quotes.
        let quotes = |quote: &str| line.matches(quote).count() % 2 == 1;
        match in_text {
            Some(quote) => {
                if quotes(quote) {
                    in_text = None;
                }
                continue;
            }
            None => in_text = ["\"\"\"", "'''"].into_iter().find(|quote| quotes(quote)),
        }
        let inner = line.trim_start();
        let defined = inner.strip_prefix("async ").unwrap_or(inner).trim_start().strip_prefix("def ").map(identifier);
        let is_top = inner.len() == line.len() && !inner.is_empty() && !inner.starts_with('#');
        if !is_top {
            if let (true, Some("process"), Some((_, has_process))) = (in_class, defined, classes.last_mut()) {
                *has_process = true;
            }
            continue;
        }
        in_class = false;
        if let Some(class) = line.strip_prefix("class ") {
            classes.push((identifier(class), false));
            in_class = true;
        } else {
            functions.extend(defined.filter(|name| !name.starts_with('_')));
        }
    }
    let with_process: Vec<&str> = classes.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect();
    if !with_process.is_empty() {
        with_process
    } else if functions.contains(&"process") {
        vec![""]
    } else {
        functions
    }
}

fn identifier(text: &str) -> &str {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_python_module_tells_what_can_be_called() {
        let exclaim = "from pulsar import Function\n\nclass Exclaim(Function):\n    def __init__(self):\n        pass\n\n    \
                       def process(self, input, context):\n        return input + '!'\n";
        for (source, entries) in [
            (exclaim, &["Exclaim"][..]),
            ("class Helper:\n    pass\n\nclass F:\n    async def process(self, i, c): ...\n", &["F"]),
            ("class A:\n  def process(self): ...\nclass B:\n  def process(self): ...\n", &["A", "B"]),
            ("def _helper(): ...\n\ndef shout(input):\n    return input.upper()\n", &["shout"]),
            ("def helper(x): ...\n\ndef process(input): ...\n", &[""]),
            ("'''\nclass NotThis:\n    def process(self): ...\n'''\ndef f(i):\n    \"\"\"One line.\"\"\"\n", &["f"]),
            ("def a(): ...\nasync def b(): ...\n", &["a", "b"]),
            ("print('x')\n", &[]),
            ("", &[]),
        ] {
            assert_eq!(super::entries(source), entries, "{source}");
        }
    }

    #[test]
    fn a_file_tells_its_language_by_its_name_or_its_first_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let of = |name: &str, content: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, content).unwrap();
            field(&path).unwrap()
        };
        assert_eq!(of("f.py", b""), Some("py"));
        assert_eq!(of("f.whl", b""), Some("py"));
        assert_eq!(of("f.JAR", b""), Some("jar"));
        assert_eq!(of("f", b"\0asm\x0d\0\x01\0"), Some("wasm"));
        assert_eq!(of("f.js", b"#!/usr/bin/env node\n"), Some("exec"));
        assert_eq!(of("elf", b"\x7fELF plain"), Some("exec"));
        // Across the border of two pieces.
        let mut go = b"\x7fELF".to_vec();
        go.resize((1 << 20) - 5, 0);
        go.extend(b"github.com/apache/pulsar/pulsar-function-go/pf");
        assert_eq!(of("go", &go), Some("go"));
        assert_eq!(of("notes.txt", b"hello"), None);
        assert_eq!(field(Path::new("https://host/f.jar")).unwrap(), Some("jar"));
        assert_eq!(field(Path::new("function://public/default/f@1")).unwrap(), None);
        assert!(field(&dir.path().join("none")).is_err());
    }

    #[test]
    fn a_name_is_that_of_the_file() {
        assert_eq!(name(Path::new("a/exclaim.py")), Some("exclaim"));
        assert_eq!(name(Path::new("word_count-1.2.0-py3-none-any.whl")), Some("word_count"));
        assert_eq!(name(Path::new("shout")), Some("shout"));
    }
}
