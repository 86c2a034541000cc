//! What the machine itself can do: the bounds that a catch-up read is measured against.

use anyhow::{Context, Result};
use rustix::fs::{Advice, fadvise};
use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    time::Instant,
};

const BLOCK_BYTES: usize = 1 << 20;
const FILE_BYTES: u64 = 2 << 30;
const LOOPBACK_BYTES: u64 = 4 << 30;

/// Forgets what the page cache holds of all files below `dir`, so that whoever reads them reads the disk.
pub(super) fn forget(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        // The server may remove a file meanwhile.
        if path.is_dir() {
            forget(&path)?;
        } else if let Ok(file) = File::open(&path) {
            file.sync_all()?;
            fadvise(&file, 0, None, Advice::DontNeed)?;
        }
    }
    Ok(())
}

/// Reads a file in order, past the page cache: megabytes a second.
pub(super) fn disk(work: &Path) -> Result<f64> {
    let path = work.join("disk");
    let mut file = File::create(&path).context("make a file to read")?;
    // Not zeros: a disk may not store those.
    let mut block: Vec<u8> = (0..BLOCK_BYTES).map(|n| (n.wrapping_mul(2_654_435_761) >> 7) as u8).collect();
    for n in 0..FILE_BYTES / BLOCK_BYTES as u64 {
        block[..8].copy_from_slice(&n.to_be_bytes());
        file.write_all(&block)?;
    }
    file.sync_all()?;
    fadvise(&file, 0, None, Advice::DontNeed)?;
    let mut file = File::open(&path)?;
    let started = Instant::now();
    while file.read(&mut block)? > 0 {}
    let seconds = started.elapsed().as_secs_f64();
    fs::remove_file(&path)?;
    Ok(FILE_BYTES as f64 / 1e6 / seconds)
}

/// One TCP connection over loopback, both ends on this machine: megabytes a second.
pub(super) fn loopback() -> Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let sender = std::thread::spawn(move || -> Result<()> {
        let mut stream = TcpStream::connect(address)?;
        let block = vec![7; BLOCK_BYTES];
        for _ in 0..LOOPBACK_BYTES / BLOCK_BYTES as u64 {
            stream.write_all(&block)?;
        }
        Ok(())
    });
    let (mut stream, _) = listener.accept()?;
    let mut block = vec![0; BLOCK_BYTES];
    let started = Instant::now();
    while stream.read(&mut block)? > 0 {}
    let seconds = started.elapsed().as_secs_f64();
    sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
    Ok(LOOPBACK_BYTES as f64 / 1e6 / seconds)
}
