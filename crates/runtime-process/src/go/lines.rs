//! What the SDK and its client say in their log lines: how bad it is, and what user code threw just before the program ended.

use functions::runtime::{LogLevel, LogLine};

/// Within so many bytes of its beginning a line names its level.
const LEVEL_WITHIN: usize = 200;
/// The SDK logs this with what the function returned, and ends.
const FAILED: &str = "handler message error:";
/// Go's runtime begins its last words so.
const PANICKED: &str = "panic: ";

/// Gives a line the level it names itself: `[info]` for the SDK, `level=info` for its client.
pub(super) fn grade(line: &mut LogLine) {
    let level = |name: &str| match name {
        "trace" => Some(LogLevel::Trace),
        "debug" => Some(LogLevel::Debug),
        "info" => Some(LogLevel::Info),
        "warn" | "warning" => Some(LogLevel::Warn),
        "error" | "fatal" | "panic" => Some(LogLevel::Error),
        _ => None,
    };
    let start = line.message.floor_char_boundary(LEVEL_WITHIN);
    let start = line.message.get(..start).unwrap_or_default();
    let in_brackets = || start.split(['[', ']']).skip(1).step_by(2).find_map(level);
    let as_field = || start.split(' ').filter_map(|field| field.strip_prefix("level=")).find_map(level);
    if let Some(level) = as_field().or_else(in_brackets) {
        line.level = level;
    }
}

/// What user code threw, if this line says so.
pub(super) fn thrown(line: &LogLine) -> Option<&str> {
    let returned = line.message.split_once(FAILED).map(|(_, error)| error);
    returned.or_else(|| line.message.starts_with(PANICKED).then_some(line.message.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(message: &str) -> LogLine {
        LogLine { level: LogLevel::Warn, message: message.to_owned() }
    }

    #[test]
    fn a_line_has_the_level_it_names() {
        let levels = [
            ("2026/11/26 00:20:41.123 instance.go:61: [info] hello [error]", LogLevel::Info),
            ("2026/11/26 00:20:41.123  [fatal] the end", LogLevel::Error),
            (r#"time="2026-11-26T00:20:41Z" level=debug msg="level=error""#, LogLevel::Debug),
            ("hello", LogLevel::Warn),
            ("", LogLevel::Warn),
            ("[info", LogLevel::Info),
            ("ä[nothing]", LogLevel::Warn),
        ];
        for (message, level) in levels {
            let mut line = line(message);
            grade(&mut line);
            assert_eq!(line.level, level, "{message}");
        }
        let mut long = line(&"ä".repeat(1000));
        grade(&mut long);
        assert_eq!(long.level, LogLevel::Warn);
    }

    #[test]
    fn what_user_code_threw_is_in_the_line() {
        assert_eq!(thrown(&line("2026/11/26 a.go:1: [error] handler message error:no such row")), Some("no such row"));
        assert_eq!(thrown(&line("panic: runtime error")), Some("panic: runtime error"));
        assert_eq!(thrown(&line("no panic: all is well")), None);
    }
}
