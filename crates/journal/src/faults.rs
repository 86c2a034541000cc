//! A directory in memory that fails like a disk does, for tests: of this crate and of the layers above.
//!
//! All that is random comes from one seed. A *crash* loses power: writes that were not synced survive in part, by sector; a durable
//! write that was under way survives in part; names that were not synced are as before or after, in order. After a crash every
//! handle fails until [`MemoryFiles::restart`]. A *kill* ends only the process: what was written stays.

use std::{collections::BTreeMap, io, sync::Arc};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::{File, Files, SyncMode};

/// Smallest part of a write that a disk does or does not do.
const SECTOR: usize = 512;

/// Which failures are to come. Operations are writes, syncs and changes of names, counted from [`MemoryFiles::plan`] on.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Lose power in the middle of this operation.
    pub crash_at: Option<u64>,
    /// This operation fails with an I/O error, once, after doing any part of its work.
    pub fail_at: Option<u64>,
    /// One in this many writes does only a part of its work, and says so. 0: none.
    pub short_writes: u32,
    /// Space for all files, in bytes.
    pub capacity: Option<u64>,
    /// Writes go through a page cache: [`File::write_durable`] writes, then syncs, as two operations.
    pub page_cache: bool,
}

/// The directory; clones share it.
#[derive(Clone)]
pub struct MemoryFiles(Arc<Mutex<Disk>>);

struct Disk {
    random: u64,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    name_changes: Vec<NameChange>,
    contents: FxHashMap<u64, Content>,
    next_content: u64,
    plan: Plan,
    operations: u64,
    life: u64,
    crashed: bool,
    locked: bool,
}

#[derive(Clone)]
enum NameChange {
    Set(String, u64),
    Remove(String),
    Rename(String, String),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Set(name, content) => {
                names.insert(name.clone(), *content);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
            Self::Rename(from, to) => {
                if let Some(content) = names.remove(from) {
                    names.insert(to.clone(), content);
                }
            }
        }
    }
}

#[derive(Default)]
struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// What `seen` has and `durable` may not: (offset, length).
    dirty: Vec<(usize, usize)>,
}

impl Content {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        write(&mut self.seen, offset, bytes);
    }

    fn sync(&mut self) {
        if self.durable.len() < self.seen.len() {
            self.durable.resize(self.seen.len(), 0);
        }
        for (offset, len) in std::mem::take(&mut self.dirty) {
            self.durable[offset..offset + len].copy_from_slice(&self.seen[offset..offset + len]);
        }
    }
}

fn write(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(bytes);
}

fn gone() -> io::Error {
    io::Error::other("power is off")
}

impl Disk {
    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.random;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.next().is_multiple_of(count.max(1))
    }

    /// Counts an operation: whether power goes, or it fails.
    fn operation(&mut self, life: u64) -> io::Result<Fate> {
        if self.crashed || life != self.life {
            return Err(gone());
        }
        self.operations += 1;
        if self.plan.crash_at == Some(self.operations) {
            return Ok(Fate::Crash);
        }
        Ok(if self.plan.fail_at == Some(self.operations) { Fate::Fail } else { Fate::Work })
    }

    fn crash(&mut self) {
        self.crashed = true;
        self.life += 1;
        self.locked = false;
        let changes = std::mem::take(&mut self.name_changes);
        let kept = self.next() as usize % (changes.len() + 1);
        for change in &changes[..kept] {
            change.apply(&mut self.durable_names);
        }
        self.names = self.durable_names.clone();
        let mut ids: Vec<u64> = self.contents.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            let Some(mut content) = self.contents.remove(&id) else { continue };
            for (offset, len) in std::mem::take(&mut content.dirty) {
                let bytes = content.seen[offset..offset + len].to_vec();
                self.tear(&mut content.durable, offset, &bytes);
            }
            content.seen = content.durable.clone();
            self.contents.insert(id, content);
        }
    }

    /// Writes any part of `bytes`, by sectors or pages, in any order.
    fn tear(&mut self, content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
        let grain = if self.one_in(2) { SECTOR } else { 4096 };
        let mode = self.next() % 4;
        let edge = self.next() as usize % (bytes.len() / grain + 1);
        for (number, part) in bytes.chunks(grain).enumerate() {
            let keep = match mode {
                0 => false,
                1 => true,
                2 => number < edge,
                _ => self.one_in(2),
            };
            if keep {
                write(content, offset + number * grain, part);
            }
        }
    }

    fn used(&self) -> u64 {
        self.names.values().filter_map(|id| self.contents.get(id)).map(|content| content.seen.len() as u64).sum()
    }

    fn rename(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }
}

enum Fate {
    Work,
    Fail,
    Crash,
}

impl MemoryFiles {
    /// An empty directory.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Disk {
            random: seed,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            name_changes: Vec::new(),
            contents: FxHashMap::default(),
            next_content: 0,
            plan: Plan::default(),
            operations: 0,
            life: 0,
            crashed: false,
            locked: false,
        })))
    }

    /// Says what is to fail from now on.
    pub fn plan(&self, plan: Plan) {
        let mut disk = self.0.lock();
        disk.plan = plan;
        disk.operations = 0;
    }

    /// Operations since the last [`MemoryFiles::plan`].
    pub fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    /// Loses power now, if it is still on.
    pub fn crash(&self) {
        let mut disk = self.0.lock();
        if !disk.crashed {
            disk.crash();
        }
    }

    /// Ends the process now: all handles fail, what was written stays.
    pub fn kill(&self) {
        let mut disk = self.0.lock();
        disk.life += 1;
        disk.locked = false;
    }

    /// Power is back; nothing fails any more. Handles from before stay useless.
    pub fn restart(&self) {
        let mut disk = self.0.lock();
        disk.crashed = false;
        disk.life += 1;
        disk.locked = false;
        disk.plan = Plan { page_cache: disk.plan.page_cache, ..Plan::default() };
    }

    /// Whether power is off.
    pub fn is_crashed(&self) -> bool {
        self.0.lock().crashed
    }

    /// Names and lengths of all files.
    pub fn lengths(&self) -> Vec<(String, u64)> {
        let disk = self.0.lock();
        let len = |id| disk.contents.get(id).map_or(0, |content| content.seen.len() as u64);
        disk.names.iter().map(|(name, id)| (name.clone(), len(id))).collect()
    }

    /// Turns one bit of a file around, on disk.
    pub fn flip(&self, name: &str, bit: u64) {
        let mut disk = self.0.lock();
        let Some(id) = disk.names.get(name).copied() else { return };
        if let Some(content) = disk.contents.get_mut(&id) {
            let (at, mask) = ((bit / 8) as usize, 1 << (bit % 8));
            for bytes in [&mut content.seen, &mut content.durable] {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= mask;
                }
            }
        }
    }

    /// A copy of the directory as it is now, sharing nothing, all of it durable.
    pub fn copy(&self, seed: u64) -> Self {
        let copy = Self::new(seed);
        let disk = self.0.lock();
        let mut other = copy.0.lock();
        other.names = disk.names.clone();
        other.durable_names = disk.names.clone();
        other.next_content = disk.next_content;
        for (id, content) in &disk.contents {
            let seen = content.seen.clone();
            other.contents.insert(*id, Content { durable: seen.clone(), seen, dirty: Vec::new() });
        }
        drop(other);
        copy
    }

    fn change(&self, change: impl FnOnce(&mut Disk) -> io::Result<NameChange>) -> io::Result<()> {
        let mut disk = self.0.lock();
        let life = disk.life;
        match disk.operation(life)? {
            Fate::Fail => Err(io::Error::other("injected failure")),
            fate => {
                let change = change(&mut disk)?;
                disk.rename(change);
                if matches!(fate, Fate::Crash) {
                    disk.crash();
                    return Err(gone());
                }
                Ok(())
            }
        }
    }

    fn handle(&self, id: u64) -> Arc<dyn File> {
        let life = self.0.lock().life;
        Arc::new(MemoryFile { disk: self.clone(), id, life })
    }
}

impl Files for MemoryFiles {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut made = 0;
        self.change(|disk| {
            made = disk.next_content;
            disk.next_content += 1;
            disk.contents.insert(made, Content::default());
            Ok(NameChange::Set(name.to_owned(), made))
        })?;
        Ok(self.handle(made))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let id = self.0.lock().names.get(name).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(self.handle(id))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change(|disk| {
            if !disk.names.contains_key(name) {
                return Err(io::ErrorKind::NotFound.into());
            }
            Ok(NameChange::Remove(name.to_owned()))
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change(|disk| {
            if !disk.names.contains_key(from) {
                return Err(io::ErrorKind::NotFound.into());
            }
            Ok(NameChange::Rename(from.to_owned(), to.to_owned()))
        })
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut disk = self.0.lock();
        let life = disk.life;
        match disk.operation(life)? {
            Fate::Work => {
                disk.durable_names = disk.names.clone();
                disk.name_changes.clear();
                Ok(())
            }
            Fate::Fail => Err(io::Error::other("injected failure")),
            Fate::Crash => {
                disk.crash();
                Err(gone())
            }
        }
    }

    fn lock(&self) -> io::Result<Box<dyn Send + Sync>> {
        struct Guard(MemoryFiles, u64);
        impl Drop for Guard {
            fn drop(&mut self) {
                let mut disk = self.0.0.lock();
                if disk.life == self.1 {
                    disk.locked = false;
                }
            }
        }
        let mut disk = self.0.lock();
        if disk.locked {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        disk.locked = true;
        Ok(Box::new(Guard(self.clone(), disk.life)))
    }

    fn unique(&self) -> u64 {
        self.0.lock().next()
    }

    fn sync_mode(&self) -> SyncMode {
        SyncMode::Memory
    }

    fn place(&self) -> String {
        "memory".to_owned()
    }
}

struct MemoryFile {
    disk: MemoryFiles,
    id: u64,
    life: u64,
}

impl MemoryFile {
    /// Part of a write that is done, and how the operation goes on.
    fn write(&self, buf: &[u8], offset: u64, durable: bool) -> io::Result<usize> {
        let mut disk = self.disk.0.lock();
        let fate = disk.operation(self.life)?;
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let mut content = disk.contents.remove(&self.id).ok_or_else(gone)?;
        let grown = ((offset + buf.len()) as u64).saturating_sub(content.seen.len() as u64);
        let full = disk
            .plan
            .capacity
            .is_some_and(|capacity| grown > 0 && disk.used() + content.seen.len() as u64 + grown > capacity);
        let result = match fate {
            _ if full => Err(io::ErrorKind::StorageFull.into()),
            Fate::Work => {
                let short = disk.plan.short_writes;
                let len = if short > 0 && buf.len() > 4096 && disk.one_in(u64::from(short)) {
                    4096 + disk.next() as usize % (buf.len() - 4096)
                } else {
                    buf.len()
                };
                content.write(offset, &buf[..len]);
                if durable {
                    write(&mut content.durable, offset, &buf[..len]);
                } else {
                    content.dirty.push((offset, len));
                }
                Ok(len)
            }
            Fate::Fail => {
                let mut seen = std::mem::take(&mut content.seen);
                disk.tear(&mut seen, offset, buf);
                content.seen = seen;
                if durable {
                    let mut kept = std::mem::take(&mut content.durable);
                    disk.tear(&mut kept, offset, buf);
                    content.durable = kept;
                }
                Err(io::Error::other("injected failure"))
            }
            Fate::Crash => {
                if durable {
                    let mut kept = std::mem::take(&mut content.durable);
                    disk.tear(&mut kept, offset, buf);
                    content.durable = kept;
                } else {
                    content.write(offset, buf);
                    content.dirty.push((offset, buf.len()));
                }
                Err(gone())
            }
        };
        disk.contents.insert(self.id, content);
        if matches!(fate, Fate::Crash) {
            disk.crash();
        }
        result
    }
}

impl File for MemoryFile {
    fn bytes(&self) -> io::Result<u64> {
        let disk = self.disk.0.lock();
        Ok(disk.contents.get(&self.id).ok_or_else(gone)?.seen.len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let disk = self.disk.0.lock();
        if disk.crashed || disk.life != self.life {
            return Err(gone());
        }
        let content = &disk.contents.get(&self.id).ok_or_else(gone)?.seen;
        let from = usize::try_from(offset).map_err(io::Error::other)?.min(content.len());
        let len = buf.len().min(content.len() - from);
        buf[..len].copy_from_slice(&content[from..from + len]);
        Ok(len)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.write(buf, offset, false)
    }

    fn write_durable(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        if !self.disk.0.lock().plan.page_cache {
            return self.write(buf, offset, true);
        }
        let written = self.write(buf, offset, false)?;
        self.sync()?;
        Ok(written)
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        let disk = self.disk.0.lock();
        if disk.plan.capacity.is_some_and(|capacity| disk.used() + bytes > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.disk.0.lock();
        match disk.operation(self.life)? {
            Fate::Work => {
                disk.contents.get_mut(&self.id).ok_or_else(gone)?.sync();
                Ok(())
            }
            Fate::Fail => {
                // The pages are clean now as far as the kernel knows, but what reached the disk is anyone's guess.
                if let Some(mut content) = disk.contents.remove(&self.id) {
                    for (offset, len) in std::mem::take(&mut content.dirty) {
                        let bytes = content.seen[offset..offset + len].to_vec();
                        disk.tear(&mut content.durable, offset, &bytes);
                    }
                    disk.contents.insert(self.id, content);
                }
                Err(io::Error::other("injected failure"))
            }
            Fate::Crash => {
                disk.crash();
                Err(gone())
            }
        }
    }
}
