//! Which Java there is.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{process::Command, time::timeout};

use crate::programs;

/// The oldest version that runs the harness.
const VERSION_MIN: u32 = 17;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A Java machine that answered.
#[derive(Debug)]
pub(super) struct Machine {
    /// All it says of itself; another machine says something else.
    pub(super) version: String,
    /// Where it is, whatever the path of an instance says.
    pub(super) java: PathBuf,
}

impl Machine {
    /// Asks the program for its version.
    ///
    /// # Errors
    /// There is none, or it is too old: with what to install.
    pub(super) async fn find(java: &Path) -> Result<Self, String> {
        let found = programs::find(java).ok_or_else(|| wanted(java, "cannot be run: there is no such program"))?;
        let mut command = Command::new(&found);
        command.arg("-version").stdin(Stdio::null()).kill_on_drop(true);
        let output = timeout(ANSWER_TIMEOUT, command.output())
            .await
            .map_err(|_| wanted(java, &format!("did not tell its version within {ANSWER_TIMEOUT:?}")))?
            .map_err(|error| wanted(java, &format!("cannot be run: {error}")))?;
        let version = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        match release(&version) {
            Some(VERSION_MIN..) => Ok(Self { version, java: found }),
            Some(old) => Err(wanted(java, &format!("is version {old}"))),
            None => Err(wanted(java, &format!("says something else than its version: {version:.200}"))),
        }
    }
}

fn wanted(java: &Path, but: &str) -> String {
    format!(
        "Java functions need Java {VERSION_MIN} or later, but {} {but}. Install one, such as Debian's openjdk-17-jre-headless, so that \
         `java` is on the path of Geminga",
        java.display()
    )
}

/// 17 of `openjdk version "17.0.15" 2025-04-15`, 8 of `java version "1.8.0_392"`.
fn release(version: &str) -> Option<u32> {
    let quoted = version.split('"').nth(1)?;
    let mut numbers = quoted.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match numbers.next()?.ok()? {
        1 => numbers.next()?.ok(),
        release => Some(release),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases() {
        let check = |version: &str| release(version);
        assert_eq!(check("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK Runtime"), Some(17));
        assert_eq!(check("openjdk version \"21\" 2023-09-19"), Some(21));
        assert_eq!(check("openjdk version \"25-ea\" 2025-09-16"), Some(25));
        assert_eq!(check("java version \"1.8.0_392\""), Some(8));
        assert_eq!(check("command not found"), None);
        assert_eq!(check("version \"x\""), None);
    }
}
