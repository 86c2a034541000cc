//! `logs`: what instances logged, and what they log.

use super::{
    kind::Kind,
    target::{Name, Target},
};
use crate::{http::Admin, output, web::Printed};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Looks from one time that instances are counted to the next.
const COUNT_EVERY: u32 = 10;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// One instance, by its number from 0 [default: all]
    #[arg(long, value_name = "N")]
    instance_id: Option<u32>,
    /// Go on with what comes
    #[arg(short, long)]
    follow: bool,
    /// How many of the latest lines of each instance, to begin with
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 100)]
    lines: usize,
    #[command(flatten)]
    printed: Printed,
}

/// A line as the worker hands it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    number: u64,
    timestamp_ms: u64,
    #[serde(default)]
    level: String,
    message: String,
}

/// How far one instance was read.
#[derive(Debug, Default)]
struct Reader {
    last: Option<Line>,
}

impl Reader {
    /// Where to ask from: at the last line, to see that it is still the same.
    fn from(&self) -> u64 {
        self.last.as_ref().map_or(0, |last| last.number)
    }

    /// What is new of an answer. `None`: an instance that was started again counts from 0 again, so all has to be asked
    /// for once more.
    fn take(&mut self, mut lines: Vec<Line>) -> Option<Vec<Line>> {
        if let Some(last) = &self.last {
            let goes_on = match lines.first() {
                // More were logged meanwhile than are kept.
                Some(first) if first.number > last.number => true,
                first => first == Some(last),
            };
            if !goes_on {
                self.last = None;
                return None;
            }
            lines.retain(|line| line.number > last.number);
        }
        if let Some(line) = lines.last() {
            self.last = Some(line.clone());
        }
        Some(lines)
    }
}

/// Prints lines, and with `-f` goes on until it is interrupted.
///
/// # Errors
/// The worker refuses it, or is not there.
pub(super) async fn run(admin: &Admin, kind: Kind, args: Args) -> anyhow::Result<()> {
    let name = args.target.resolve()?;
    let mut readers: BTreeMap<u32, Reader> = BTreeMap::new();
    for look in 0u32.. {
        if look % COUNT_EVERY == 0 {
            let ids = match args.instance_id {
                Some(id) => vec![id],
                None => instances(admin, kind, &name).await?,
            };
            readers.retain(|id, _| ids.contains(id));
            for id in ids {
                readers.entry(id).or_default();
            }
        }
        let mut lines = Vec::new();
        for (&id, reader) in &mut readers {
            let new = match reader.take(ask(admin, kind, &name, id, reader.from()).await?) {
                Some(new) => new,
                None => reader.take(ask(admin, kind, &name, id, 0).await?).unwrap_or_default(),
            };
            let skipped = if look == 0 { new.len().saturating_sub(args.lines) } else { 0 };
            lines.extend(new.into_iter().skip(skipped).map(|line| (id, line)));
        }
        lines.sort_by_key(|(_, line)| line.timestamp_ms);
        let several = readers.len() > 1;
        output::print(&lines.iter().map(|(id, line)| text(*id, line, several, args.printed)).collect::<String>())?;
        if !args.follow {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Lines of one instance, those numbered `from` and later.
async fn ask(admin: &Admin, kind: Kind, name: &Name, id: u32, from: u64) -> anyhow::Result<Vec<Line>> {
    Ok(name.at(admin, kind).at([id.to_string().as_str(), "logs"]).query("from", from).get().await?)
}

/// The numbers of the instances there should be.
async fn instances(admin: &Admin, kind: Kind, name: &Name) -> anyhow::Result<Vec<u32>> {
    let config: Value = name.at(admin, kind).get().await?;
    let parallelism = config["parallelism"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(1);
    Ok((0..parallelism).collect())
}

fn text(id: u32, line: &Line, several: bool, printed: Printed) -> String {
    if printed.is_json() {
        let mut object = serde_json::json!(line);
        object["instanceId"] = id.into();
        return format!("{object}\n");
    }
    let time = std::time::UNIX_EPOCH.checked_add(Duration::from_millis(line.timestamp_ms));
    let time = time.map_or_else(|| "-".to_owned(), |time| humantime::format_rfc3339_millis(time).to_string());
    let instance = if several { format!(" [{id}]") } else { String::new() };
    let message: Vec<String> = line.message.trim_end().lines().map(output::shown).collect();
    format!("{time} {:<5}{instance} {}\n", output::shown(&line.level).to_uppercase(), message.join("\n  "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(all: &[(u64, &str)]) -> Vec<Line> {
        let line = |&(number, message): &(u64, &str)| Line {
            number,
            timestamp_ms: 1000,
            level: "INFO".to_owned(),
            message: message.to_owned(),
        };
        all.iter().map(line).collect()
    }

    #[test]
    fn a_reader_goes_on_where_it_was() {
        let mut reader = Reader::default();
        assert_eq!(reader.take(Vec::new()), Some(Vec::new()));
        assert_eq!(reader.take(lines(&[(0, "a"), (1, "b")])), Some(lines(&[(0, "a"), (1, "b")])));
        assert_eq!(reader.from(), 1);
        assert_eq!(reader.take(lines(&[(1, "b"), (2, "c")])), Some(lines(&[(2, "c")])));
        // A flood went over what is kept.
        assert_eq!(reader.take(lines(&[(9, "x")])), Some(lines(&[(9, "x")])));
    }

    #[test]
    fn a_reader_sees_that_an_instance_began_anew() {
        for anew in [lines(&[]), lines(&[(1, "other")])] {
            let mut reader = Reader { last: lines(&[(1, "b")]).pop() };
            assert_eq!(reader.take(anew), None);
            assert_eq!(reader.from(), 0);
        }
    }
}
