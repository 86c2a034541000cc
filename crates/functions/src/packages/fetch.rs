//! Code that is given by where it is: `file://`, `http://`, `https://`, or the name of a package.

use futures::StreamExt;
use std::time::Duration;
use tokio::io::AsyncReadExt;

use super::{BlobId, PackageName, Packages, Stored, io};
use crate::{Error, Result};

/// How long a server has to answer, and how long the whole transfer may take.
const CONNECT: Duration = Duration::from_secs(10);
const TRANSFER: Duration = Duration::from_secs(300);
/// Bytes read at once.
const PIECE: usize = 64 * 1024;

impl Packages {
    /// Stores what a URL names. Code is copied, so what becomes of the URL later does not matter.
    ///
    /// # Errors
    /// [`Error::Invalid`]: it is no such URL, or what it names cannot be read. [`Error::TooLarge`]. [`Error::NotFound`]: there is no
    /// such package.
    pub async fn fetch(&self, url: &str) -> Result<Stored> {
        if PackageName::is_meant_by(url) {
            let name: PackageName = url.parse()?;
            return self.hold(&self.get(&name)?.blob).await;
        }
        // Java writes the URL of a file without the empty host: `file:/path`.
        match url.split_once(':') {
            Some(("file", path)) => self.copy(path.strip_prefix("//").unwrap_or(path)).await,
            Some(("http" | "https", rest)) if rest.starts_with("//") => self.download(url).await,
            _ => Err(Error::Invalid(format!(
                "{url:?} is no URL of a package: file:///path, http(s)://..., function://tenant/namespace/name@version \
                 and builtin://name are"
            ))),
        }
    }

    /// Keeps a blob that is there already from being swept.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn hold(&self, blob: &BlobId) -> Result<Stored> {
        let stored = self.shared.blobs.hold(blob);
        self.file(blob).await.map(|_| stored)
    }

    async fn copy(&self, path: &str) -> Result<Stored> {
        let failed = |error: std::io::Error| Error::Invalid(format!("the package {path} cannot be read: {error}"));
        if !path.starts_with('/') {
            return Err(Error::Invalid(format!("file://{path} has no absolute path; write file:///path")));
        }
        let mut file = tokio::fs::File::open(path).await.map_err(failed)?;
        // A pipe or a device would never end.
        if !file.metadata().await.map_err(failed)?.is_file() {
            return Err(Error::Invalid(format!("the package {path} is no file")));
        }
        let mut upload = self.receive(path).await?;
        let mut piece = vec![0; PIECE];
        loop {
            let read = file.read(&mut piece).await.map_err(io(format!("read {path}")))?;
            if read == 0 {
                return upload.finish().await;
            }
            upload.write(&piece[..read]).await?;
        }
    }

    async fn download(&self, url: &str) -> Result<Stored> {
        let failed = |error: reqwest::Error| {
            let source = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
            Error::Invalid(format!("the package {url} cannot be downloaded: {error}{source}"))
        };
        // Whoever comes first chooses for the whole process; that it was chosen already is no error.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().connect_timeout(CONNECT).timeout(TRANSFER).build().map_err(failed)?;
        let answer = client.get(url).send().await.and_then(reqwest::Response::error_for_status).map_err(failed)?;
        let mut upload = self.receive(answer.url().path()).await?;
        let mut body = answer.bytes_stream();
        while let Some(piece) = body.next().await {
            upload.write(&piece.map_err(failed)?).await?;
        }
        upload.finish().await
    }
}
