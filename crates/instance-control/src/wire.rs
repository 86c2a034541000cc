//! What both sides agree on: the calls, and how a message lies in a body.

use bytes::{BufMut, Bytes, BytesMut};
use h2::RecvStream;
use prost::Message;

use crate::error::{Error, Result};

/// Bytes before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// Nothing here is larger; ten exceptions with traces and a thousand metrics are less.
pub(crate) const BODY_BYTES_MAX: usize = 1 << 20;
/// Headers of one request or answer.
pub(crate) const HEADER_BYTES_MAX: u32 = 16 << 10;
pub(crate) const CONTENT_TYPE: &str = "application/grpc";

/// The calls of `proto.InstanceControl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    GetFunctionStatus,
    GetAndResetMetrics,
    ResetMetrics,
    GetMetrics,
    HealthCheck,
}

impl Call {
    const ALL: [Self; 5] =
        [Self::GetFunctionStatus, Self::GetAndResetMetrics, Self::ResetMetrics, Self::GetMetrics, Self::HealthCheck];

    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::GetFunctionStatus => "/proto.InstanceControl/GetFunctionStatus",
            Self::GetAndResetMetrics => "/proto.InstanceControl/GetAndResetMetrics",
            Self::ResetMetrics => "/proto.InstanceControl/ResetMetrics",
            Self::GetMetrics => "/proto.InstanceControl/GetMetrics",
            Self::HealthCheck => "/proto.InstanceControl/HealthCheck",
        }
    }

    pub(crate) fn of_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|call| call.path() == path)
    }
}

/// A body of one message.
pub(crate) fn body(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut body = BytesMut::with_capacity(PREFIX_BYTES + length);
    body.put_u8(0);
    body.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // A `BytesMut` grows, so there is room.
    let _ = message.encode(&mut body);
    body.freeze()
}

/// The one message of a body; `None` when the body is empty, as it is where the answer is an error.
pub(crate) fn message<M: Message + Default>(body: &[u8]) -> Result<Option<M>> {
    let Some((prefix, message)) = body.split_first_chunk::<PREFIX_BYTES>() else {
        return if body.is_empty() { Ok(None) } else { Err(Error::Garbage("a body ends within its prefix")) };
    };
    let [compressed, length @ ..] = *prefix;
    if compressed != 0 {
        return Err(Error::Garbage("a message is compressed, which nobody asked for"));
    }
    if usize::try_from(u32::from_be_bytes(length)) != Ok(message.len()) {
        return Err(Error::Garbage("a body is not one message"));
    }
    M::decode(message).map(Some).map_err(|_| Error::Garbage("a message is none of this kind"))
}

/// Reads a body to its end.
pub(crate) async fn read(stream: &mut RecvStream) -> Result<Bytes> {
    let mut body = BytesMut::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        if body.len() + data.len() > BODY_BYTES_MAX {
            return Err(Error::Garbage("a body is too long"));
        }
        body.extend_from_slice(&data);
        stream.flow_control().release_capacity(data.len())?;
    }
    Ok(body.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HealthCheckResult;

    #[test]
    fn a_message_comes_out_of_its_body() {
        let well = HealthCheckResult { success: true };
        assert_eq!(body(&well).as_ref(), [0, 0, 0, 0, 2, 8, 1]);
        assert_eq!(message::<HealthCheckResult>(&body(&well)).unwrap(), Some(well));
        assert_eq!(message::<HealthCheckResult>(&[]).unwrap(), None);
    }

    #[test]
    fn garbage_is_an_error() {
        let bad: [&[u8]; 6] = [
            &[0],
            &[0, 0, 0, 0],
            &[1, 0, 0, 0, 0],
            &[0, 0, 0, 0, 1],
            &[0, 0, 0, 0, 2, 8, 1, 0],
            &[0, 0, 0, 0, 2, 255, 255],
        ];
        for body in bad {
            assert!(matches!(message::<HealthCheckResult>(body), Err(Error::Garbage(_))), "{body:?}");
        }
    }
}
