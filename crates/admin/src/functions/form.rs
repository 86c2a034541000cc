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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::{Body, Bytes};
    use functions::{packages, testing::MemoryTables};
    use proptest::prelude::*;
    use std::sync::Arc;

    const BODY: &str = "--XX\r\nContent-Disposition: form-data; name=\"functionConfig\"\r\n\r\n{\"a\": 1}\r\n\
                        --XX\r\nContent-Disposition: form-data; name=\"data\"; filename=\"a.py\"\r\nContent-Type: text/x\r\n\r\nprint()\r\n\
                        --XX\r\nContent-Disposition: form-data; name=\"url\"\r\n\r\n\r\n--XX--\r\n";

    struct Kit {
        dir: tempfile::TempDir,
        packages: Packages,
        runtime: tokio::runtime::Runtime,
    }

    impl Kit {
        fn new() -> Self {
            let (dir, tables) = (tempfile::tempdir().unwrap(), Arc::<MemoryTables>::default());
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let config = packages::Config { dir: dir.path().to_owned(), max_bytes: 64 };
            let clock = Arc::new(seams::SystemClock::new());
            let packages = runtime.block_on(Packages::open(config, tables, clock)).unwrap();
            Self { dir, packages, runtime }
        }

        /// Reads a body that comes in pieces.
        fn read(&self, boundary: &[u8], body: &[u8], piece: usize) -> Reply<Form> {
            let kind = [&b"multipart/form-data; boundary="[..], boundary].concat();
            let Ok(kind) = axum::http::HeaderValue::from_bytes(&kind) else { return Ok(Form::default()) };
            let pieces: Vec<_> = body.chunks(piece).map(Bytes::copy_from_slice).map(Ok::<_, std::io::Error>).collect();
            let mut request = Request::new(Body::from_stream(futures::stream::iter(pieces)));
            request.headers_mut().insert("content-type", kind);
            self.runtime.block_on(Form::read(request, &self.packages, Some("data")))
        }

        fn half_written(&self) -> usize {
            std::fs::read_dir(self.dir.path().join("incoming")).unwrap().count()
        }
    }

    #[test]
    fn a_body_is_read_however_it_comes() {
        let kit = Kit::new();
        for piece in [1, 2, 7, 1000] {
            let mut form = kit.read(b"XX", BODY.as_bytes(), piece).unwrap();
            assert_eq!(form.text("functionConfig").unwrap().as_deref(), Some("{\"a\": 1}"));
            assert_eq!(form.text("url").unwrap(), None, "blank is as good as absent");
            assert!(form.file.is_some());
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_us_panic_or_leaves_half_a_package(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 0..8),
            cut in any::<prop::sample::Index>(),
            boundary in prop_oneof![Just(b"XX".to_vec()), prop::collection::vec(any::<u8>(), 0..80)],
            piece in 1..64usize,
        ) {
            thread_local!(static KIT: Kit = Kit::new());
            let mut body = BODY.as_bytes().to_vec();
            for (at, byte, what) in changes {
                let at = at.index(body.len());
                match what {
                    0 => body[at] = byte,
                    1 => body.insert(at, byte),
                    _ => drop(body.drain(at..(at + usize::from(byte)).min(body.len()))),
                }
                if body.is_empty() {
                    break;
                }
            }
            if !body.is_empty() {
                body.truncate(cut.index(body.len() * 4).max(1).min(body.len()));
            }
            KIT.with(|kit| {
                let _ = kit.read(&boundary, &body, piece);
                assert_eq!(kit.half_written(), 0);
            });
        }
    }
}
