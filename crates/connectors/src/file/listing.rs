//! Which files of a directory are due. Source: Pulsar's `FileListingThread` and `FileSourceConfig`, defaults included.

use regex::Regex;
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// Files found in one look; the rest waits until there are fewer.
const FOUND_MAX: usize = 100_000;
/// Directories below each other.
const DEPTH_MAX: usize = 64;

/// What is looked for.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    pub(crate) directory: PathBuf,
    pub(crate) recurse: bool,
    pub(crate) ignore_hidden: bool,
    pub(crate) file_filter: Option<Regex>,
    /// Of the path from the directory to the one the file is in.
    pub(crate) path_filter: Option<Regex>,
    pub(crate) age: (Duration, Option<Duration>),
    pub(crate) bytes: (u64, u64),
    /// Files with it at their end are processed.
    pub(crate) processed_suffix: Option<String>,
}

/// A file as it was when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) modified: SystemTime,
}

impl Found {
    /// # Errors
    /// It is gone, or no file.
    pub(crate) fn look(path: &Path) -> io::Result<Self> {
        let about = fs::metadata(path)?;
        if !about.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(Self { path: path.to_owned(), bytes: about.len(), modified: about.modified()? })
    }
}

impl Listing {
    /// Files that are due, by name. Blocks.
    ///
    /// # Errors
    /// The directory cannot be read; what is below it and cannot be read is left out.
    pub(crate) fn look(&self) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        self.look_into(&self.directory, 0, &mut found)?;
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    fn look_into(&self, directory: &Path, depth: usize, found: &mut Vec<Found>) -> io::Result<()> {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let path = entry.path();
            if found.len() >= FOUND_MAX {
                break;
            }
            // Links to directories are not followed: they could lead back up. Links to files are files.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if self.recurse && depth < DEPTH_MAX {
                    // Not ours to read, or gone in the meantime.
                    let _ = self.look_into(&path, depth + 1, found);
                }
            } else if let Ok(file) = Found::look(&path)
                && self.is_due(&file)
            {
                found.push(file);
            }
        }
        Ok(())
    }

    fn is_due(&self, file: &Found) -> bool {
        let Some(name) = file.path.file_name().and_then(|name| name.to_str()) else { return false };
        // A file of the future has no age.
        let age = SystemTime::now().duration_since(file.modified).unwrap_or_default();
        let below = file.path.parent().and_then(|parent| parent.strip_prefix(&self.directory).ok());
        let below = below.and_then(Path::to_str).unwrap_or("");
        let is_processed = self.processed_suffix.as_ref().is_some_and(|suffix| name.ends_with(suffix.as_str()));
        (self.bytes.0..=self.bytes.1).contains(&file.bytes)
            && age >= self.age.0
            && self.age.1.is_none_or(|most| age <= most)
            && !(self.ignore_hidden && name.starts_with('.'))
            && !is_processed
            && (below.is_empty() || self.path_filter.as_ref().is_none_or(|filter| filter.is_match(below)))
            && self.file_filter.as_ref().is_none_or(|filter| filter.is_match(name))
    }
}
