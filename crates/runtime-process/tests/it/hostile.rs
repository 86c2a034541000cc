//! Code that leaks, loops, forks, prints without end, returns garbage or dies harms only itself.

use functions::{Code, FunctionSpec, Language, runtime::Exit};
use runtime_process::{Children, Limits, Process, Python, PythonConfig};
use std::{
    path::Path,
    time::{Duration, Instant},
};

use crate::kit::*;

fn shell(script: &str) -> FunctionSpec {
    spec(Language::Process, Code::Command(["sh", "-c", script].map(str::to_owned).to_vec()), "")
}

fn binary(script: &str) -> FunctionSpec {
    FunctionSpec { runtime_options: Some(r#"{"protocol": "binary"}"#.into()), ..shell(script) }
}

async fn start_with(children: Children, spec: FunctionSpec, dir: &Path) -> Result<Running, String> {
    Running::start(&Process::new(children), instance(spec, dir)).await
}

/// How a child ends after it was given one message.
async fn end(spec: FunctionSpec) -> Exit {
    let dir = tempfile::tempdir().unwrap();
    let mut function = start_with(children(), spec, dir.path()).await.unwrap();
    function.send(&["x"]).await;
    function.exit().await
}

/// Held by tests that move many bytes, so that one does not see the other's.
static HEAVY: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

const READY: &str = r#"read hello; echo '{"type":"ready"}'; "#;
/// Length 3, kind 0x81, `{}`.
const READY_BINARY: &str = r"printf '\003\000\000\000\201{}' >&4; ";

async fn python(text: &str, change: impl FnOnce(&mut FunctionSpec)) -> (Result<Running, String>, tempfile::TempDir) {
    python_with(children(), text, change).await
}

async fn python_with(
    children: Children,
    text: &str,
    change: impl FnOnce(&mut FunctionSpec),
) -> (Result<Running, String>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let code = dir.path().join("f.py");
    std::fs::write(&code, text).unwrap();
    let mut spec = spec(Language::Python, Code::File(code), "f.F");
    change(&mut spec);
    let runtime = Python::new(PythonConfig::new(dir.path().join("cache")), children);
    (Running::start(&runtime, instance(spec, &dir.path().join("work"))).await, dir)
}

#[tokio::test]
async fn a_constructor_that_dies_says_why() {
    let start = async |body: &str| {
        let text = format!(
            "import os, sys\nclass F:\n    def __init__(self):\n        {body}\n    def process(self, i, c): pass\n"
        );
        python(&text, |_| {}).await.0.err().expect("it does not start")
    };
    let why = start("raise ValueError('no database')").await;
    assert!(why.contains("ValueError: no database") && why.contains("f.py\", line 4, in __init__"), "{why}");
    assert!(!why.contains("_geminga"), "the harness does not show itself: {why}");
    assert!(start("sys.exit(3)").await.contains("SystemExit: 3"));
    let why = start("print('last words', file=sys.stderr); os._exit(7)").await;
    assert_eq!(why, "it exited with code 7\nlast words");
    assert!(start("os.abort()").await.contains("killed by signal 6"));
}

#[tokio::test]
async fn a_child_that_is_never_ready_is_not_waited_for_forever() {
    use runtime_process::Launch;
    let dir = tempfile::tempdir().unwrap();
    let mut launch = Launch::new("/bin/sh");
    launch.args = vec!["-c".into(), "sleep 1000".into()];
    launch.start_timeout = Duration::from_millis(200);
    let why = children().start(launch, instance(shell(""), dir.path())).await.unwrap_err();
    assert_eq!(why.0, "it was not ready after 200ms");
}

#[tokio::test]
async fn an_endless_loop_is_killed_at_the_timeout() {
    let (function, _dir) =
        python("class F:\n  def process(self, i, c):\n    while i == 'loop': pass\n    return i\n", |spec| {
            spec.timeout = Some(Duration::from_millis(500))
        })
        .await;
    let mut function = function.unwrap();
    let ids = function.send(&["a", "loop", "b"]).await;
    assert_eq!(function.outputs().await.unwrap(), ["a"]);
    let (id, outcome) = function.outcome().await;
    assert_eq!(id, ids[1]);
    assert_eq!(outcome.result.unwrap_err().message, "timed out: it took more than 500ms");
    let exit = function.exit().await;
    assert!(!exit.is_clean && exit.reason.contains("timed out"), "{exit:?}");
}

#[tokio::test]
async fn an_idle_function_does_not_time_out() {
    let (function, _dir) = python("class F:\n  def process(self, i, c): return i\n", |spec| {
        spec.timeout = Some(Duration::from_millis(300));
    })
    .await;
    let mut function = function.unwrap();
    assert_eq!(function.call("a").await.unwrap(), "a");
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(function.call("b").await.unwrap(), "b");
    assert!(function.stop().await.0.is_clean);
}

#[tokio::test]
async fn a_fork_bomb_is_bounded_and_leaves_nothing() {
    for limits in [Limits::detect(), Limits::watched()] {
        let is_watched = !limits.has_control_groups();
        let children = Children::new(seams::Tasks::default(), limits.tasks_max(40));
        let mark = format!("BOMB_{}", std::process::id());
        // Without control groups it is seen only twice a second, so this one takes its time.
        let pause = if is_watched { "time.sleep(0.02)" } else { "pass" };
        let text = format!(
            "
import os, time
class F:
    def process(self, input, context):
        os.environ['{mark}'] = '1'
        while True:
            try:
                if os.fork() == 0: os.execvp('sleep', ['sleep', '1000'])
                {pause}
            except OSError: time.sleep(0.01)
"
        );
        let (function, _dir) = python_with(children, &text, |_| {}).await;
        let mut function = function.unwrap();
        function.send(&["x"]).await;
        if is_watched {
            let exit = function.exit().await;
            assert!(exit.reason.contains("40 are allowed"), "{exit:?}");
        } else {
            wait_for(|| carrying(&mark) >= 30).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            let bombs = carrying(&mark);
            assert!(bombs <= 40, "{bombs}");
            function.kill_nobody_listens().await;
        }
        gone(&mark).await;
    }
}

#[tokio::test]
async fn what_leaves_its_session_ends_with_its_instance() {
    for limits in [Limits::detect(), Limits::watched()] {
        let children = Children::new(seams::Tasks::default(), limits);
        let dir = tempfile::tempdir().unwrap();
        let mark = format!("ESCAPED_{}", std::process::id());
        let script = format!("{mark}=1 setsid sleep 1000 & {READY} cat > /dev/null");
        let function = start_with(children, shell(&script), dir.path()).await.unwrap();
        wait_for(|| carrying(&mark) >= 1).await;
        assert!(function.stop().await.0.is_clean);
        gone(&mark).await;
    }
}

const ORPHANS: &str = "TEST_ORPHANS";

#[tokio::test]
async fn children_die_with_geminga_and_what_they_left_at_its_next_start() {
    let mark = format!("ORPHAN_{}", std::process::id());
    let mut geminga = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "hostile::stands_for_geminga"])
        .env(ORPHANS, &mark)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait_for(|| carrying(&mark) == 2).await;
    geminga.kill().unwrap();
    geminga.wait().unwrap();
    wait_for(|| carrying(&mark) <= 1).await;
    if Limits::detect().has_control_groups() {
        gone(&mark).await;
    }
}

/// Another process, which is killed: see the test above.
#[tokio::test]
#[ignore = "not a test by itself"]
async fn stands_for_geminga() {
    let Ok(mark) = std::env::var(ORPHANS) else { return };
    let dir = tempfile::tempdir().unwrap();
    let script = format!("{READY} export {mark}=1; setsid sleep 60 <&- >&- 2>&- & exec sleep 60");
    let _instance = start_with(children(), shell(&script), dir.path()).await.unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn too_much_memory_ends_the_child_and_is_named() {
    for limits in [Limits::detect(), Limits::watched()] {
        let children = Children::new(seams::Tasks::default(), limits);
        let (function, _dir) = python_with(
            children,
            "import time\nclass F:\n  def process(self, i, c):\n    keep = []\n    for _ in range(200): keep.append(b'x' * (1 << 20)); time.sleep(0.01)\n    time.sleep(30)\n",
            |spec| spec.limits.ram_bytes = Some(64 << 20),
        )
        .await;
        let mut function = function.unwrap();
        function.send(&["x"]).await;
        let exit = function.exit().await;
        assert!(exit.reason.contains("out of memory, its limit is 64 MiB"), "{exit:?}");
    }
}

#[tokio::test]
async fn a_child_that_prints_without_end_goes_on_and_its_lines_are_dropped() {
    let _alone = HEAVY.lock().await;
    let before = resident_bytes();
    let (function, _dir) = python(
        "import os\nclass F:\n  def process(self, i, c):\n    for _ in range(256): os.write(1, (b'y' * 99 + b'\\n') * 10486)\n    os.write(1, b'z' * (64 << 20))\n    return 'printed'\n",
        |_| {},
    )
    .await;
    let mut function = function.unwrap();
    assert_eq!(function.call("x").await.unwrap(), "printed");
    let (exit, logs) = function.stop().await;
    assert!(exit.is_clean, "{exit:?}");
    let bytes: usize = logs.iter().map(|line| line.message.len()).sum();
    assert!(bytes < 64 << 20, "{bytes} bytes of 330 million went to the log");
    assert!(logs.iter().any(|line| line.message.ends_with("lines were printed too fast and dropped")));
    assert!(resident_bytes() < before + (256 << 20), "{before} before, {} after", resident_bytes());
}

#[tokio::test]
async fn killed_children_say_so_with_what_they_wrote_last() {
    let exit = end(shell(&format!("{READY} read line; echo going down >&2; kill -9 $$"))).await;
    assert_eq!(exit, Exit { is_clean: false, reason: "it was killed by signal 9\ngoing down".into() });
    let exit = end(shell(&format!("{READY} read line; exit 3"))).await;
    assert_eq!(exit, Exit { is_clean: false, reason: "it exited with code 3".into() });
    let exit = end(shell(&format!("{READY} read line; exit 0"))).await;
    assert_eq!(exit, Exit { is_clean: false, reason: "it exited".into() }, "something was to do");
    let exit = end(shell(&format!("{READY} exec 1>&-; sleep 1000"))).await;
    assert_eq!(exit, Exit { is_clean: false, reason: "it closed its events and went on".into() });
}

#[tokio::test]
async fn outcomes_written_before_the_end_count() {
    let dir = tempfile::tempdir().unwrap();
    let script = format!(r#"{READY} read line; echo '{{"type":"done","id":2,"output":"last"}}'; kill -9 $$"#);
    let mut function = start_with(children(), shell(&script), dir.path()).await.unwrap();
    assert_eq!(function.call("x").await.unwrap(), "last");
    assert!(!function.exit().await.is_clean);
}

#[tokio::test]
async fn garbage_ends_the_child_with_a_clear_error() {
    let lines = async |line: &str| end(shell(&format!("{READY} read line; {line}; sleep 1000"))).await.reason;
    assert!(lines("echo hello").await.contains("a line of its output is no message"));
    assert!(lines(r#"echo '{"type":"done","id":99}'"#).await.contains("invocation 99, which was not in flight"));
    assert!(
        lines(r#"echo '{"type":"done","id":2,"output":"a","output_base64":"YQ=="}'"#)
            .await
            .contains("both text and base64")
    );
    assert!(lines(r#"echo '{"type":"ready"}'"#).await.contains("twice"));
    assert!(lines(r#"printf '{"type":"log","message":"\377"}\n'"#).await.contains("no message"));

    let frames =
        async |frame: &str| end(binary(&format!("{READY_BINARY} printf '{frame}' >&4; sleep 1000"))).await.reason;
    assert!(frames(r"\377\377\377\377").await.contains("a frame of 4294967295 bytes"));
    assert!(frames(r"\000\000\000\000").await.contains("a frame of 0 bytes"));
    assert!(frames(r"\001\000\000\000\102").await.contains("a frame of kind 0x42"));
    assert!(frames(r"\002\000\000\000\203\102").await.contains("an event of kind 0x42"));
    assert!(frames(r"\003\000\000\000\203\001\001").await.contains("ends within a record"));
    assert!(frames(r"\003\000\000\000\201{}").await.contains("twice"));
}

#[tokio::test]
async fn garbage_instead_of_ready_is_a_failed_start() {
    let dir = tempfile::tempdir().unwrap();
    let start = async |spec| start_with(children(), spec, dir.path()).await.err().expect("it does not start");
    assert!(start(shell("echo hello; sleep 1000")).await.contains("no message"));
    assert!(start(shell(r#"echo '{"type":"failed","error":"no table"}'; sleep 1000"#)).await.contains("no table"));
    assert!(
        start(shell(r#"echo '{"type":"done","id":1}'; sleep 1000"#)).await.contains("before it said that it is ready")
    );
    assert!(start(binary("printf hello >&4; sleep 1000")).await.contains("a frame of"));
    assert!(start(shell("")).await.contains("it exited"));
}

#[tokio::test]
async fn a_line_without_end_is_refused_in_time() {
    let _alone = HEAVY.lock().await;
    let before = resident_bytes();
    let exit = end(shell(&format!("{READY} tr '\\0' x < /dev/zero"))).await;
    assert!(exit.reason.contains("a line of more than 67108864 bytes"), "{exit:?}");
    assert!(resident_bytes() < before + (400 << 20));
}

#[tokio::test]
async fn a_child_that_ignores_its_end_is_killed_after_the_grace() {
    let dir = tempfile::tempdir().unwrap();
    let function =
        start_with(children(), shell(&format!("{READY} trap '' TERM HUP; while :; do sleep 1000; done")), dir.path())
            .await
            .unwrap();
    let at = Instant::now();
    let (exit, _) = function.stop().await;
    assert_eq!(exit, Exit { is_clean: true, reason: "stopped".into() });
    assert!(at.elapsed() >= runtime_process::GRACE);
}

#[tokio::test]
async fn neither_side_is_flooded() {
    let _alone = HEAVY.lock().await;
    // A child that reads nothing: what it is sent stays with the loop, which cannot send more.
    let dir = tempfile::tempdir().unwrap();
    let mut deaf = start_with(children(), shell(&format!("{READY} sleep 1000")), dir.path()).await.unwrap();
    let mut batches = 0;
    while tokio::time::timeout(Duration::from_millis(500), deaf.invoke((0..100).map(|_| input(vec![b'x'; 10_000]))))
        .await
        .is_ok()
    {
        batches += 1;
        assert!(batches < 50, "50 MB were taken");
    }
    deaf.kill_nobody_listens().await;

    // A child that writes without end, and nobody takes it: it stands still.
    let progress = dir.path().join("progress");
    let script = format!(
        r#"{READY} i=0; while :; do i=$((i+1)); printf '{{"type":"log","message":"%05000d"}}\n' $i; echo $i > {}; done"#,
        progress.display()
    );
    let loud = start_with(children(), shell(&script), dir.path()).await.unwrap();
    let count =
        || std::fs::read_to_string(&progress).ok().and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or(0);
    let mut last = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let now = count();
        if now == last && now > 0 {
            break;
        }
        assert!(now < 100_000, "it goes on: {now}");
        last = now;
    }
    loud.kill_nobody_listens().await;
}

#[tokio::test]
async fn messages_of_five_megabytes_pass_both_ways() {
    let _alone = HEAVY.lock().await;
    let (function, _dir) = python("class F:\n  def process(self, i, c): return i + '!'\n", |_| {}).await;
    let mut function = function.unwrap();
    let large = "x".repeat(5 << 20);
    for _ in 0..3 {
        assert_eq!(function.call(&large).await.unwrap().len(), large.len() + 1);
    }
    function.send(&["y".repeat(65 << 20).as_str(), "small"]).await;
    assert_eq!(function.outputs().await.unwrap_err(), "the message is too large to be given to a child process");
    assert_eq!(function.outputs().await.unwrap(), ["small!"]);
    assert!(function.stop().await.0.is_clean);
}

impl Running {
    /// The loop goes away without a word.
    async fn kill_nobody_listens(self) {
        drop(self);
    }
}

fn processes() -> impl Iterator<Item = std::path::PathBuf> {
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.parse::<u32>().is_ok()))
}

/// How many processes have a variable of this name.
fn carrying(name: &str) -> usize {
    let begins = format!("{name}=");
    processes()
        .filter(|process| {
            let environment = std::fs::read(process.join("environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|entry| entry.starts_with(begins.as_bytes()))
        })
        .count()
}

async fn wait_for(what: impl Fn() -> bool) {
    let at = Instant::now();
    while !what() {
        assert!(at.elapsed() < PATIENCE, "it does not happen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn gone(mark: &str) {
    wait_for(|| carrying(mark) == 0).await;
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}
