//! What a Python function may come as: a file, a wheel, a zip with what it needs.

use functions::{Code, FunctionSpec, Language, Runtime};
use std::{path::PathBuf, process::Command};

use crate::{kit::*, python::Kit};

/// Makes a zip of files and their texts; a wheel is one.
fn zip(kit: &Kit, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let path = kit.dir.path().join(name);
    let made = Command::new("python3")
        .arg("-c")
        .arg("import json, sys, zipfile\nwith zipfile.ZipFile(sys.argv[1], 'w') as z:\n  for n, t in json.loads(sys.argv[2]):\n    z.write(t[1:], n) if t.startswith('@') else z.writestr(n, t)")
        .arg(&path)
        .arg(serde_json::to_string(files).unwrap())
        .status()
        .unwrap();
    assert!(made.success());
    path
}

fn wheel(kit: &Kit, name: &str, requires: &str, files: &[(&str, &str)]) -> PathBuf {
    let info = format!("{name}-1.0.dist-info");
    let metadata = format!("Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{requires}\n");
    let mut all = files.to_vec();
    let (metadata_name, wheel_name, record_name) =
        (format!("{info}/METADATA"), format!("{info}/WHEEL"), format!("{info}/RECORD"));
    all.push((&metadata_name, &metadata));
    all.push((&wheel_name, "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"));
    all.push((&record_name, ""));
    zip(kit, &format!("{name}-1.0-py3-none-any.whl"), &all)
}

fn package(path: PathBuf, class_name: &str) -> FunctionSpec {
    spec(Language::Python, Code::File(path), class_name)
}

#[tokio::test]
async fn a_wheel_runs() {
    let kit = Kit::new();
    let wheel = wheel(
        &kit,
        "shout",
        "",
        &[
            ("shout/__init__.py", ""),
            ("shout/loud.py", "from shout.mark import MARK\nclass Loud:\n  def process(self, i, c): return i + MARK\n"),
            ("shout/mark.py", "MARK = '!'"),
        ],
    );
    let renamed = kit.dir.path().join("package");
    std::fs::copy(&wheel, &renamed).unwrap();
    for path in [wheel, renamed] {
        let mut function = kit.run(package(path, "shout.loud.Loud")).await.unwrap();
        assert_eq!(function.call("a").await.unwrap(), "a!");
    }
}

#[tokio::test]
async fn a_zip_brings_its_dependencies_and_installs_them_offline() {
    let kit = Kit::new();
    let dependency = wheel(&kit, "marks", "", &[("marks.py", "MARK = '?'")]);
    let dependency = format!("@{}", dependency.display());
    for (top, requirements) in [("", "marks==1.0\n"), ("func/", "")] {
        let names = [
            format!("{top}src/ask.py"),
            format!("{top}deps/marks-1.0-py3-none-any.whl"),
            format!("{top}requirements.txt"),
        ];
        let zip = zip(
            &kit,
            &format!("func{}{}.zip", top.len(), requirements.len()),
            &[
                (&names[0], "import marks\ndef process(i): return i + marks.MARK\n"),
                (&names[1], &dependency),
                (&names[2], requirements),
            ],
        );
        let mut function = kit.run(package(zip.clone(), "ask")).await.unwrap();
        assert_eq!(function.call("a").await.unwrap(), "a?", "{top} {requirements}");
    }
}

#[tokio::test]
async fn a_plain_zip_is_modules() {
    let kit = Kit::new();
    let zip = zip(
        &kit,
        "plain.zip",
        &[("a.py", "from b import mark\ndef process(i): return i + mark"), ("b.py", "mark = '.'")],
    );
    let mut function = kit.run(package(zip, "a")).await.unwrap();
    assert_eq!(function.call("a").await.unwrap(), "a.");
}

#[tokio::test]
async fn what_cannot_be_installed_is_shown_whole() {
    let kit = Kit::new();
    let mut python = runtime_process::PythonConfig::new(kit.dir.path().join("offline"));
    python.pip_arguments = vec!["--no-index".into()];
    let python = runtime_process::Python::new(python, children());
    let zip = zip(
        &kit,
        "needs.zip",
        &[("src/f.py", "def process(i): return i"), ("requirements.txt", "geminga-no-such-package==1.0\n")],
    );
    let why = python.prepare(&package(zip, "f")).await.unwrap_err().0;
    assert!(why.contains("No matching distribution found for geminga-no-such-package==1.0"), "{why}");
}

#[tokio::test]
async fn mistakes_are_found_before_the_function_starts() {
    let kit = Kit::new();
    let why = async |text: &str, class_name: &str| kit.python.prepare(&kit.spec(text, class_name)).await.unwrap_err().0;
    let unknown = why("class Right: pass\nclass Other: pass\n", "code.Wrong").await;
    assert_eq!(unknown, "className code.Wrong: module code has no Wrong; its classes: Other, Right");
    let syntax = why("def f(:\n", "code.f").await;
    assert!(syntax.contains("SyntaxError: invalid syntax") && syntax.contains("line 1"), "{syntax}");
    let missing = kit.python.prepare(&package("/no/such.py".into(), "x.Y")).await.unwrap_err().0;
    assert!(missing.contains("No such file"), "{missing}");
}

#[tokio::test]
async fn what_is_only_seen_at_the_start_is_said_then() {
    let kit = Kit::new();
    let why = async |text: &str, class_name: &str| kit.run(kit.spec(text, class_name)).await.err().unwrap();
    assert!(why("import no_such_module\n", "code").await.contains("No module named 'no_such_module'"));
    assert!(why("x = 1\n", "code.x").await.contains("neither a class with a method process"));
    assert!(why("x = 1\n", "other.x").await.contains("neither a class"));
    assert!(
        why("class A:\n def process(s, i, c): 0\nclass B:\n def process(s, i, c): 0\n", "")
            .await
            .contains("className is needed")
    );
}

#[tokio::test]
async fn the_second_preparation_is_from_the_cache() {
    let kit = Kit::new();
    let spec = kit.spec("def process(i): return i", "code");
    kit.python.prepare(&spec).await.unwrap();
    let packages = || std::fs::read_dir(kit.dir.path().join("cache/packages")).unwrap().count();
    let before = packages();
    let again =
        runtime_process::Python::new(runtime_process::PythonConfig::new(kit.dir.path().join("cache")), children());
    again.prepare(&spec).await.unwrap();
    assert_eq!(packages(), before);
}

#[tokio::test]
async fn what_only_the_real_client_has_says_how_to_get_it() {
    let kit = Kit::new();
    let mut function = kit
        .start("import pulsar\ndef process(i):\n  return pulsar.CompressionType.LZ4.name if i == 'enum' else pulsar.Client('x')\n", "code")
        .await;
    assert_eq!(function.call("enum").await.unwrap(), "LZ4");
    let why = function.call("client").await.unwrap_err();
    assert!(why.contains("pulsar.Client") && why.contains("install pulsar-client"), "{why}");

    // An installed package of that name takes over when it is asked for, and what was imported before stays good.
    let real = wheel(
        &kit,
        "pulsar_client",
        "",
        &[("pulsar/__init__.py", "class Client:\n  def __init__(self, url): self.url = url\nclass Function: pass\n")],
    );
    let real = format!("@{}", real.display());
    let zip = zip(
        &kit,
        "real.zip",
        &[
            (
                "src/f.py",
                "from pulsar import Function\nimport pulsar\nclass F(Function):\n  def process(self, i, c):\n    c.publish('t', i)\n    return pulsar.Client(i).url + c.get_function_name()\n",
            ),
            ("deps/pulsar_client-1.0-py3-none-any.whl", &real),
        ],
    );
    let mut function = kit.run(package(zip, "f.F")).await.unwrap();
    assert_eq!(function.call("u").await.unwrap(), "uf");
}

#[tokio::test]
async fn what_no_function_uses_any_more_is_removed() {
    let kit = Kit::new();
    let packages = || std::fs::read_dir(kit.dir.path().join("cache/packages")).map_or(0, Iterator::count);
    let (kept, gone) = (kit.spec("def process(i): return i", "code"), kit.spec("def process(i): return i", "code"));
    let mut running = kit.run(kept.clone()).await.unwrap();
    kit.python.prepare(&gone).await.unwrap();
    let both = packages();
    let (kept, gone) = (std::sync::Arc::new(kept), std::sync::Arc::new(gone));
    kit.python.retain(&|| vec![kept.clone(), gone.clone()]).await;
    assert_eq!(packages(), both);
    kit.python.retain(&|| vec![kept.clone()]).await;
    assert_eq!(packages(), both / 2);
    assert_eq!(running.call("a").await.unwrap(), "a");
    // What comes back is made ready again; and so it is after a start, where nothing is known of what there was.
    kit.python.prepare(&gone).await.unwrap();
    assert_eq!(packages(), both);
    let again =
        runtime_process::Python::new(runtime_process::PythonConfig::new(kit.dir.path().join("cache")), children());
    again.retain(&|| vec![gone.clone()]).await;
    assert_eq!(packages(), both / 2);
    again.retain(&Vec::new).await;
    assert_eq!(packages(), 0);
}
