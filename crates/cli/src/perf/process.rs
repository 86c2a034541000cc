//! What the broker's process costs: processor time, memory and bytes written, from /proc.

use anyhow::Context;
use std::{fs, net::ToSocketAddrs, path::Path, time::Duration};

/// Linux counts processor time in hundredths of a second for programs, on every machine this runs on.
const TICKS_PER_S: u64 = 100;

/// A process on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: u32,
}

/// What a process has used up to now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    pub(super) cpu: Duration,
    pub(super) rss_bytes: u64,
    pub(super) rss_peak_bytes: u64,
    /// Absent when this user may not know.
    pub(super) written_bytes: Option<u64>,
}

impl Process {
    /// This process.
    pub(super) fn own() -> Self {
        Self { pid: std::process::id() }
    }

    /// The process that listens at the service URL's first address, when that is on this machine and may be known.
    pub(super) fn listening_at(service_url: &str) -> Option<Self> {
        let address = service_url.split("://").last()?.split([',', '/']).next()?;
        let address = address.to_socket_addrs().ok()?.find(|address| address.ip().is_loopback())?;
        let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
            .iter()
            .filter_map(|table| fs::read_to_string(table).ok())
            .flat_map(|table| listening_inodes(&table, address.port()))
            .map(|inode| format!("socket:[{inode}]"))
            .collect();
        fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let holds = fs::read_dir(entry.path().join("fd")).ok()?.flatten().any(|fd| {
                fs::read_link(fd.path()).is_ok_and(|link| inodes.iter().any(|inode| link == Path::new(inode)))
            });
            holds.then_some(Self { pid })
        })
    }

    /// What it has used up to now, its threads included.
    ///
    /// # Errors
    /// There is no such process.
    pub(super) fn sample(self) -> anyhow::Result<Sample> {
        let read = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", self.pid));
        let gone = || format!("read what process {} uses", self.pid);
        let stat = read("stat").with_context(gone)?;
        let status = read("status").with_context(gone)?;
        Ok(Sample {
            cpu: cpu(&stat).with_context(gone)?,
            rss_bytes: kibibytes(&status, "VmRSS:"),
            rss_peak_bytes: kibibytes(&status, "VmHWM:"),
            written_bytes: read("io")
                .ok()
                .and_then(|io| io.lines().find_map(|line| line.strip_prefix("write_bytes:")?.trim().parse().ok())),
        })
    }
}

/// The inodes of sockets that listen on `port`, from the text of /proc/net/tcp.
fn listening_inodes(table: &str, port: u16) -> Vec<u64> {
    const LISTEN: &str = "0A";
    table
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let (_, local_port) = fields.get(1)?.rsplit_once(':')?;
            let is_it = fields.get(3) == Some(&LISTEN) && u16::from_str_radix(local_port, 16) == Ok(port);
            if is_it { fields.get(9)?.parse().ok() } else { None }
        })
        .collect()
}

/// User and system time, from the text of /proc/PID/stat. The name in parentheses may hold anything.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1000 / TICKS_PER_S))
}

fn kibibytes(status: &str, field: &str) -> u64 {
    let number =
        status.lines().find_map(|line| line.strip_prefix(field)?.split_ascii_whitespace().next()?.parse().ok());
    number.unwrap_or(0u64) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "42 (a) b) (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 5 0 100";
        assert_eq!(cpu(stat), Some(Duration::from_secs(2)));
        assert_eq!(cpu("42 (cut"), None);
    }

    #[test]
    fn a_listener_is_told_from_a_connection() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 0100007F:19FA 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 77 1\n   \
            1: 0100007F:19FA 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000        0 78 1\n";
        assert_eq!(listening_inodes(table, 6650), [77]);
        assert_eq!(listening_inodes(table, 6651), [0u64; 0]);
    }

    #[test]
    fn this_process_can_be_found_and_sampled() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("pulsar://127.0.0.1:{}", listener.local_addr().unwrap().port());
        assert_eq!(Process::listening_at(&url), Some(Process::own()));
        let sample = Process::own().sample().unwrap();
        assert!(sample.rss_bytes > 0 && sample.rss_peak_bytes >= sample.rss_bytes);
    }
}
