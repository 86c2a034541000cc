//! Peers that send too much, too little, or nonsense.

use crate::server::{PATIENCE, Server};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const P: &str = "/admin/v2/persistent/public/default";
const N: &str = "/admin/v2/namespaces/public/default";

#[tokio::test]
async fn a_body_of_the_wrong_shape_is_refused_with_a_reason() {
    let server = Server::start().await;
    let deep = "[".repeat(100_000);
    for (method, path, body) in [
        ("PUT", format!("{P}/t/partitions"), "\"x\""),
        ("PUT", format!("{P}/t/partitions"), ""),
        ("PUT", format!("{P}/t/partitions"), "1e99"),
        ("PUT", format!("{P}/t"), "[1,2"),
        ("PUT", format!("{P}/t"), deep.as_str()),
        ("POST", format!("{N}/retention"), "\"text\""),
        ("POST", format!("{N}/messageTTL"), "99999999999999999999"),
        ("PUT", "/admin/v2/tenants/t".to_owned(), r#"{"adminRoles":5}"#),
        ("PUT", "/admin/v2/tenants/t".to_owned(), "\u{0}\u{1}"),
    ] {
        let (status, reason) = server.send(method, &path, body).await.refusal();
        assert_eq!(status, 400, "{method} {path}");
        assert!(!reason.is_empty());
    }
    let huge = server.send("PUT", &format!("{P}/t/partitions"), "4000000000").await.refusal();
    assert_eq!(huge.0, 406);
    let bundles = server.send("PUT", "/admin/v2/namespaces/public/n", r#"{"bundles":{"numBundles":99999999}}"#).await;
    assert_eq!(bundles.status, 400);
}

#[tokio::test]
async fn numbers_and_escapes_in_a_path_may_be_anything() {
    let server = Server::start().await;
    server.done("PUT", &format!("{P}/t"), "").await;
    for path in [
        "t/ledger/x/entry/0",
        "t/ledger/18446744073709551616/entry/0",
        "t/ledger/18446744073709551615/entry/9223372036854775807",
        "t/ledger/1/entry/-9223372036854775808",
        "t/subscription/none/position/18446744073709551615",
        "t/messageid/x",
    ] {
        assert_eq!(server.get(&format!("{P}/{path}")).await.status, 404, "{path}");
    }
    server.done("PUT", &format!("{P}/t/subscription/s"), "").await;
    let far = server.send("POST", &format!("{P}/t/subscription/s/skip/18446744073709551615"), "").await;
    assert_eq!(far.status, 204);
    for seconds in [u64::MAX, 0] {
        // Nothing is there to expire, which Pulsar answers with 409.
        let answer = server.send("POST", &format!("{P}/t/subscription/s/expireMessages/{seconds}"), "").await;
        assert_eq!(answer.status, 409, "{seconds}");
    }
    for ms in ["9223372036854775807", "-1"] {
        let answer = server.send("POST", &format!("{P}/t/subscription/s/resetcursor/{ms}"), "").await;
        assert_eq!(answer.status, 204, "{ms}");
    }
    let id = r#"{"ledgerId":9223372036854775806,"entryId":-9223372036854775808,"isExcluded":true}"#;
    assert_eq!(server.send("POST", &format!("{P}/t/subscription/s/resetcursor"), id).await.status, 204);
    assert_eq!(server.get(&format!("{P}/%ff%fe/stats")).await.status, 400);
    assert_eq!(server.get(&format!("{P}/a%00b/stats")).await.status, 412);
    let long = "x".repeat(5000);
    assert_eq!(server.get(&format!("{P}/{long}/stats")).await.status, 412);
    assert_eq!(server.send("PUT", &format!("{P}/t/subscription/{long}"), "").await.status, 412);
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_not_read() {
    let config = admin::Config { max_body_bytes: 1000, ..admin::Config::default() };
    let server = Server::with(config).await;
    let body = format!("{{\"a\":\"{}\"}}", "x".repeat(2000));
    assert_eq!(server.send("PUT", &format!("{P}/t"), &body).await.status, 413);
    let endless = b"PUT /admin/v2/tenants/t HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut request = endless.to_vec();
    for _ in 0..100 {
        request.extend_from_slice(b"64\r\n");
        request.extend_from_slice(&[b' '; 100]);
        request.extend_from_slice(b"\r\n");
    }
    let answer = server.raw(&request).await;
    assert!(answer.starts_with(b"HTTP/1.1 413"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn what_is_no_http_is_refused_or_closed() {
    let server = Server::start().await;
    for bytes in [
        &b"\x00\x00\x00\x1f\x00\x00\x00\x1b\x08\x02"[..],
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        &[b'A'; 1 << 20],
    ] {
        let answer = server.raw(bytes).await;
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(server.get("/health").await.status, 200);
}

#[tokio::test]
async fn a_silent_peer_is_let_go_and_makes_room() {
    let config =
        admin::Config { max_connections: 2, idle_timeout: Duration::from_millis(300), ..admin::Config::default() };
    let server = Server::with(config).await;
    let mut silent = server.connect().await;
    let mut half = server.connect().await;
    half.write_all(b"GET /health HTTP/1.1\r\nHo").await.unwrap();
    // Answered although both places are taken: when one of them is given up.
    assert_eq!(server.get("/health").await.status, 200);
    for stream in [&mut silent, &mut half] {
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "the connection was closed");
    }
}

#[tokio::test]
async fn half_a_request_does_not_hold_the_stop() {
    let mut server = Server::start().await;
    let mut half = server.connect().await;
    half.write_all(b"PUT /admin/v2/tenants/t HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{").await.unwrap();
    assert_eq!(server.get("/health").await.status, 200);
    server.stop.trigger();
    let serving = server.serving.take().unwrap();
    tokio::time::timeout(PATIENCE, serving).await.expect("stops in time").unwrap();
}
