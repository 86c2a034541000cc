//! Classes as the Java machine keeps them ready to be mapped (class data sharing): a start with them takes less than half the time.
//!
//! An archive fits one machine and one harness; both are in its name. What does not fit is passed over by the machine itself.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};
use tokio::{process::Command, time::timeout};

use super::{JavaConfig, MAIN, common, joined, machine::Machine};

const MAKE_TIMEOUT: Duration = Duration::from_secs(120);
/// Of what the machine printed.
const OUTPUT_SHOWN: usize = 1 << 10;

/// The archive for a machine and a harness, made unless it is there: the harness plays a short life of an instance, and the machine
/// keeps the classes it took.
///
/// # Errors
/// It cannot be made, in words for a log.
pub(super) async fn open(config: &JavaConfig, machine: &Machine, harness: &Path) -> Result<PathBuf, String> {
    let file = fs::metadata(harness).map_err(|error| format!("{}: {error}", harness.display()))?;
    let mut hasher = DefaultHasher::new();
    (&machine.version, harness, file.len(), file.modified().ok(), common()).hash(&mut hasher);
    let cache = std::path::absolute(&config.cache_dir).map_err(|error| error.to_string())?;
    let archive = cache.join(format!("java-{:016x}.jsa", hasher.finish()));
    if archive.is_file() {
        return Ok(archive);
    }
    fs::create_dir_all(&cache).map_err(|error| format!("{}: {error}", cache.display()))?;
    static MADE: AtomicU64 = AtomicU64::new(0);
    let new = cache.join(format!("java-new-{}-{}.jsa", std::process::id(), MADE.fetch_add(1, Relaxed)));
    let mut command = Command::new(&machine.java);
    command
        .args(common())
        .arg(joined("-XX:ArchiveClassesAtExit=", &new))
        .arg("-cp")
        .arg(harness)
        .args([MAIN, "--rehearse"]);
    command.current_dir(&cache).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(MAKE_TIMEOUT, command.output())
        .await
        .map_err(|_| format!("it took more than {MAKE_TIMEOUT:?}"))?
        .map_err(|error| error.to_string())?;
    if !output.status.success() || !new.is_file() {
        let _ = fs::remove_file(&new);
        let start = output.stderr.len().saturating_sub(OUTPUT_SHOWN);
        let shown = String::from_utf8_lossy(output.stderr.get(start..).unwrap_or_default());
        return Err(format!("{}: {}", output.status, shown.trim()));
    }
    fs::rename(&new, &archive).map_err(|error| format!("{}: {error}", archive.display()))?;
    Ok(archive)
}
