//! Names of packages and what they name: rows of the table `packages`, and a copy of them in memory.

use bytes::Bytes;
use futures::TryStreamExt;
use model::function::PackageMetadata;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

use super::{BlobId, PackageName, Packages, Stored, name};
use crate::{
    Error, Result, Tables,
    event_log::{RowChange, TableChange, rows},
};

/// The table of names.
const TABLE: &str = "packages";
/// What the keys of uploads begin with; those of packages begin with their type.
const UPLOADS: &str = "upload/";
/// Bytes of an upload's path.
const PATH_BYTES_MAX: usize = 1024;
/// Bytes of what people write of a package.
const METADATA_BYTES_MAX: usize = 64 * 1024;

/// What a name names.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The content.
    pub blob: BlobId,
    /// How large it is.
    pub bytes: u64,
    /// What people say of it.
    #[serde(default)]
    pub metadata: PackageMetadata,
}

/// Every name there is, and whether that is all: what cannot be read is reported and left out, since the others are of use without it.
pub(super) async fn read(tables: &dyn Tables) -> Result<(BTreeMap<String, Entry>, bool)> {
    let (mut all, mut is_whole) = (BTreeMap::new(), true);
    let mut rows = rows(tables, TABLE, b"", None);
    while let Some((key, row)) = rows.try_next().await? {
        let key = String::from_utf8_lossy(&key).into_owned();
        match serde_json::from_slice(&row.value) {
            Ok(entry) => drop(all.insert(key, entry)),
            Err(error) => {
                is_whole = false;
                tracing::error!(key, %error, "the row of a package is damaged; none is removed until it can be read");
            }
        }
    }
    Ok((all, is_whole))
}

impl Packages {
    /// Names a stored file.
    ///
    /// # Errors
    /// [`Error::Exists`]: a version is never replaced. [`Error::Invalid`]: the metadata is too large.
    pub async fn add(&self, name: &PackageName, metadata: PackageMetadata, stored: &Stored) -> Result<()> {
        let now = self.now_ms();
        let metadata = PackageMetadata { create_time: now, modification_time: now, ..metadata };
        let entry = Entry { blob: stored.id().clone(), bytes: stored.bytes(), metadata };
        let _quiet = self.shared.changes.lock().await;
        if self.shared.named.lock().contains_key(&name.key()) {
            return Err(Error::Exists(format!("Package '{name}' metadata already exists")));
        }
        self.write(name.key(), entry).await
    }

    /// What a name names.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn get(&self, name: &PackageName) -> Result<Entry> {
        self.find(&name.key()).ok_or_else(|| Error::NotFound(format!("Package '{name}' does not exist")))
    }

    /// Says something else of a package; when it was created stays.
    ///
    /// # Errors
    /// [`Error::NotFound`]. [`Error::Invalid`]: the metadata is too large.
    pub async fn describe(&self, name: &PackageName, metadata: PackageMetadata) -> Result<()> {
        let _quiet = self.shared.changes.lock().await;
        let missing = || Error::NotFound(format!("Package '{name}' metadata does not exist"));
        let entry = self.find(&name.key()).ok_or_else(missing)?;
        let metadata =
            PackageMetadata { create_time: entry.metadata.create_time, modification_time: self.now_ms(), ..metadata };
        self.write(name.key(), Entry { metadata, ..entry }).await
    }

    /// Forgets a name; [`Packages::sweep`] removes what it named. Functions made of it keep their code.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn remove(&self, name: &PackageName) -> Result<()> {
        let _quiet = self.shared.changes.lock().await;
        self.get(name)?;
        let key = name.key();
        self.shared.tables.write(vec![change(&key, RowChange::Delete)]).await?;
        self.shared.named.lock().remove(&key);
        Ok(())
    }

    /// Versions of a package, sorted.
    ///
    /// # Errors
    /// [`Error::Invalid`]: it is no name of one.
    pub fn versions(&self, kind: &str, tenant: &str, namespace: &str, name: &str) -> Result<Vec<String>> {
        let key = PackageName::new(kind, tenant, namespace, name, "")?.key();
        let prefix = key.trim_end_matches("latest");
        Ok(self.keys(prefix).into_iter().collect())
    }

    /// Names of the packages of a namespace, sorted.
    ///
    /// # Errors
    /// [`Error::Invalid`]: there is no such type.
    pub fn list(&self, kind: &str, tenant: &str, namespace: &str) -> Result<Vec<String>> {
        let kind = name::package_type(kind)?;
        let keys = self.keys(&format!("{kind}/{tenant}/{namespace}/"));
        let names: BTreeSet<_> =
            keys.iter().map(|rest| rest.split('@').next().unwrap_or_default().to_owned()).collect();
        Ok(names.into_iter().collect())
    }

    /// Keeps a stored file under a path; what was there before is replaced. Source: `ComponentImpl.uploadFunction`.
    ///
    /// # Errors
    /// [`Error::Invalid`]: the path is none.
    pub async fn upload(&self, path: &str, stored: &Stored) -> Result<()> {
        if path.is_empty() || path.len() > PATH_BYTES_MAX || path.contains(char::is_control) {
            return Err(Error::Invalid(format!("a path has 1 to {PATH_BYTES_MAX} bytes that can be seen")));
        }
        let _quiet = self.shared.changes.lock().await;
        let entry = Entry { blob: stored.id().clone(), bytes: stored.bytes(), metadata: PackageMetadata::default() };
        self.write(format!("{UPLOADS}{path}"), entry).await
    }

    /// What was uploaded to a path.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn uploaded(&self, path: &str) -> Result<Entry> {
        self.find(&format!("{UPLOADS}{path}")).ok_or_else(|| Error::NotFound(format!("nothing was uploaded to {path}")))
    }

    fn now_ms(&self) -> i64 {
        i64::try_from(self.shared.clock.now_ms()).unwrap_or(i64::MAX)
    }

    fn find(&self, key: &str) -> Option<Entry> {
        self.shared.named.lock().get(key).cloned()
    }

    /// Keys that begin like this, without their beginning.
    fn keys(&self, prefix: &str) -> Vec<String> {
        let named = self.shared.named.lock();
        let from_here = named.range(prefix.to_owned()..).map(|(key, _)| key);
        from_here.map_while(|key| key.strip_prefix(prefix)).map(str::to_owned).collect()
    }

    /// While the lock of changes is held.
    async fn write(&self, key: String, entry: Entry) -> Result<()> {
        let row = serde_json::to_vec(&entry).map_err(|error| Error::Invalid(error.to_string()))?;
        if row.len() > METADATA_BYTES_MAX {
            return Err(Error::Invalid(format!("the metadata of a package may have {METADATA_BYTES_MAX} bytes")));
        }
        self.shared.tables.write(vec![change(&key, RowChange::Put(row.into()))]).await?;
        self.shared.named.lock().insert(key, entry);
        Ok(())
    }
}

fn change(key: &str, change: RowChange) -> TableChange {
    TableChange { table: TABLE.into(), key: Bytes::copy_from_slice(key.as_bytes()), change }
}
