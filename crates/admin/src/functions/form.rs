//! Multipart bodies: small parts as text, the package to disk as it comes.

use axum::{
    extract::{FromRequest, Multipart, Request, multipart::MultipartError},
    http::StatusCode,
};
use functions::packages::{Packages, Stored};
use std::collections::BTreeMap;

use super::refused;
use crate::reply::{Failure, Reply};

/// Parts of one body.
const PARTS_MAX: usize = 32;
/// Bytes of a part that is no package.
const TEXT_BYTES_MAX: usize = 5 * 1024 * 1024 + 1024;

/// What a body had.
#[derive(Default)]
pub(super) struct Form {
    parts: BTreeMap<String, Vec<u8>>,
    /// The part that is a package.
    pub(super) file: Option<Stored>,
}

impl Form {
    /// Reads a body to its end. Of several parts of one name the last counts.
    pub(super) async fn read(request: Request, packages: &Packages, file: Option<&str>) -> Reply<Self> {
        let multipart = Multipart::from_request(request, &()).await;
        let mut multipart = multipart.map_err(|error| {
            Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("HTTP 415: {}", error.body_text()))
        })?;
        let mut form = Self::default();
        let mut parts = 0;
        while let Some(mut part) = multipart.next_field().await.map_err(broken)? {
            parts += 1;
            if parts > PARTS_MAX {
                return Err(Failure::bad(format!("the body has more than {PARTS_MAX} parts")));
            }
            let name = part.name().unwrap_or_default().to_owned();
            if file == Some(&name) {
                let mut upload = packages.receive(part.file_name().unwrap_or_default()).await.map_err(refused)?;
                while let Some(piece) = part.chunk().await.map_err(broken)? {
                    upload.write(&piece).await.map_err(refused)?;
                }
                form.file = Some(upload.finish().await.map_err(refused)?);
                continue;
            }
            let mut value = Vec::new();
            while let Some(piece) = part.chunk().await.map_err(broken)? {
                if value.len() + piece.len() > TEXT_BYTES_MAX {
                    let shown: String = name.chars().take(80).collect();
                    let reason = format!("the part {shown:?} has more than {TEXT_BYTES_MAX} bytes");
                    return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, reason));
                }
                value.extend_from_slice(&piece);
            }
            form.parts.insert(name, value);
        }
        Ok(form)
    }

    /// A part as it came.
    pub(super) fn bytes(&mut self, name: &str) -> Option<Vec<u8>> {
        self.parts.remove(name)
    }

    /// A part that is text; `None` also when it is blank.
    pub(super) fn text(&mut self, name: &str) -> Reply<Option<String>> {
        let Some(bytes) = self.parts.remove(name) else { return Ok(None) };
        let text = String::from_utf8(bytes).map_err(|_| Failure::bad(format!("the part {name:?} is no UTF-8")))?;
        Ok(Some(text).filter(|text| !text.trim().is_empty()))
    }
}

fn broken(error: MultipartError) -> Failure {
    Failure::new(error.status(), format!("the body does not parse: {}", error.body_text()))
}
