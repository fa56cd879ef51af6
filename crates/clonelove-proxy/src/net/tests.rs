//! Both ends of TLS over real sockets: ours on both sides, so that what one end does the other can see.

use std::pin::Pin;
use std::sync::Arc;

use tokio::net::UnixStream;

use super::*;
use crate::settings::Address;
use crate::tls::tests::{Signer, signed_by_itself};
use crate::tls::{Acceptor, Authorities, Connector, MinVersion, ServerTls};

/// Two ends that speak TLS with each other.
async fn pair() -> (Buffered, Buffered) {
    let (client, server) = UnixStream::pair().unwrap();
    let (mut client, mut server) = (Buffered::new(Stream::Unix(client)), Buffered::new(Stream::Unix(server)));
    let signer = Signer::new();
    let acceptor = signer.acceptor("localhost");
    let connector =
        Connector::new(ServerTls::VerifyIdentity, Some(signer.authorities()), MinVersion::Tls12).unwrap();
    let address = Address::Tcp { host: "localhost".to_owned(), port: 1 };
    let (config, name) = connector.config(&address).unwrap();
    let connect = async {
        client.connect_tls(config, name).await.unwrap();
        client.write_all(b"first").await.unwrap();
    };
    let accept = async {
        server.accept_tls(&acceptor).await.unwrap();
        assert_eq!(take(&mut server, 5).await, b"first"[..]);
    };
    tokio::join!(connect, accept);
    client.take_counts();
    server.take_counts();
    (client, server)
}

/// Reads until there are so many bytes.
async fn take(end: &mut Buffered, count: usize) -> BytesMut {
    while end.input.len() < count {
        assert_ne!(end.fill().await.unwrap(), 0, "it ended early");
    }
    end.input.split_to(count)
}

fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

#[tokio::test]
async fn what_is_written_arrives_whole_whatever_its_size() {
    let (mut client, mut server) = pair().await;
    for size in [1, 5, 16_383, 16_384, 16_385, 65_535, 65_537, 3_000_000] {
        let sent = pattern(size);
        let (written, read) = tokio::join!(client.write_all(&sent), take(&mut server, size));
        written.unwrap();
        assert_eq!(read, sent, "{size}");
        let (written, read) = tokio::join!(server.write_all(&sent), take(&mut client, size));
        written.unwrap();
        assert_eq!(read, sent, "{size}");
    }
    let (read, written) = client.take_counts();
    assert_eq!(read, written, "the same went both ways");
}

#[tokio::test]
async fn tickets_are_not_unasked_and_bytes_are() {
    let (mut client, mut server) = pair().await;
    // The ticket is there by now: it left before this.
    server.write_all(b"x").await.unwrap();
    assert_eq!(take(&mut client, 1).await, b"x"[..]);
    assert!(!client.has_unasked());
    server.write_all(b"y").await.unwrap();
    std::future::poll_fn(|context| client.stream.poll_readable(context)).await.unwrap();
    assert!(client.has_unasked());
    assert!(client.has_unasked(), "it is still so");
    assert_eq!(take(&mut client, 1).await, b"y"[..]);
    assert!(!client.has_unasked());
    drop(server);
    std::future::poll_fn(|context| client.stream.poll_readable(context)).await.unwrap();
    assert!(client.has_unasked(), "an end is unasked too");
}

#[tokio::test]
async fn an_end_is_an_end_with_and_without_a_word() {
    let (mut client, server) = pair().await;
    drop(server);
    assert_eq!(client.fill().await.unwrap(), 0);
    assert_eq!(client.fill().await.unwrap(), 0);
    assert_eq!(client.fill_idle().await.unwrap(), 0);

    let (mut client, mut server) = pair().await;
    // No farewell, as after a cut.
    server.writing = true;
    drop(server);
    assert_eq!(client.fill_idle().await.unwrap(), 0);
}

#[tokio::test]
async fn a_connection_at_rest_holds_no_buffer_and_wakes_up() {
    let (mut client, mut server) = pair().await;
    server.write_all(&pattern(100_000)).await.unwrap();
    take(&mut client, 100_000).await;
    {
        let waiting = client.fill_idle();
        tokio::pin!(waiting);
        assert!(futures_pending(waiting.as_mut()).await, "there is nothing to read");
    }
    assert_eq!(client.input.capacity(), 0);
    let tls = client.tls.as_ref().unwrap();
    assert_eq!((tls.incoming.capacity(), tls.outgoing.capacity()), (0, 0));
    server.write_all(b"awake").await.unwrap();
    assert_eq!(client.fill_idle().await.unwrap(), 5);
}

/// Polls once; whether it has to wait.
async fn futures_pending<F: Future>(mut future: Pin<&mut F>) -> bool {
    std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}

#[tokio::test]
async fn a_record_that_was_tampered_with_is_an_error_for_good() {
    let (mut client, mut server) = pair().await;
    client.writing = true;
    client.stream.write_all(b"\x17\x03\x03\0\x20aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").await.unwrap();
    assert!(server.fill().await.is_err());
    assert!(server.input.is_empty());
}

#[tokio::test]
async fn nothing_from_before_tls_is_used_after_it() {
    let (client, server) = UnixStream::pair().unwrap();
    let mut server = Buffered::new(Stream::Unix(server));
    let acceptor = Signer::new().acceptor("localhost");
    server.input.extend_from_slice(b"\x05\0\0\x02plain");
    let refused = server.accept_tls(&acceptor).await;
    assert!(matches!(refused, Err(NoTls::Refused(_))), "{refused:?}");
    assert!(server.input.is_empty());
    drop(client);
}

#[tokio::test]
async fn any_bytes_in_place_of_a_handshake_end_it() {
    let acceptor = Arc::new(Signer::new().acceptor("localhost"));
    let mut seed = 1_u64;
    for round in 0..300_usize {
        let mut bytes: Vec<u8> = (0..round * 7)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                seed.to_be_bytes()[0]
            })
            .collect();
        // Some look like the begin of a handshake, in one record or in many.
        match round % 3 {
            0 => bytes.splice(0..0, *b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03").for_each(drop),
            1 => {
                bytes = bytes
                    .chunks(3)
                    .flat_map(|part| {
                        let mut record = vec![0x16, 3, 1, 0, u8::try_from(part.len()).unwrap()];
                        record.extend_from_slice(part);
                        record
                    })
                    .collect()
            }
            _ => {}
        }
        let (mut client, server) = UnixStream::pair().unwrap();
        let mut server = Buffered::new(Stream::Unix(server));
        let half = bytes.len() / 2;
        server.input.extend_from_slice(&bytes[..half]);
        client.write_all(&bytes[half..]).await.unwrap();
        client.shutdown().await.unwrap();
        assert!(server.accept_tls(&acceptor).await.is_err(), "round {round}");
    }
}

/// How a handshake with a server of localhost ends for the client.
async fn meet(acceptor: &Acceptor, mode: ServerTls, trusted: Authorities, host: &str) -> Result<(), NoTls> {
    let (client, server) = UnixStream::pair().unwrap();
    let (mut client, mut server) = (Buffered::new(Stream::Unix(client)), Buffered::new(Stream::Unix(server)));
    let connector = Connector::new(mode, Some(trusted), MinVersion::Tls12).unwrap();
    let address = Address::Tcp { host: host.to_owned(), port: 1 };
    let (config, name) = connector.config(&address).unwrap();
    let connect = async {
        let met = client.connect_tls(config, name).await;
        let _ = client.write_all(b"first").await;
        met
    };
    tokio::join!(connect, server.accept_tls(acceptor)).0
}

#[tokio::test]
async fn a_certificate_that_signed_itself_is_trusted_where_it_is_listed() {
    for is_ca in [true, false] {
        let (acceptor, itself) = signed_by_itself(is_ca);
        let (_, another) = signed_by_itself(is_ca);
        for mode in [ServerTls::VerifyCa, ServerTls::VerifyIdentity] {
            let met = meet(&acceptor, mode, itself.clone(), "localhost").await;
            assert!(met.is_ok(), "{is_ca} {mode:?}: {met:?}");
            let met = meet(&acceptor, mode, another.clone(), "localhost").await;
            assert!(matches!(met, Err(NoTls::Refused(_))), "{is_ca} {mode:?}: {met:?}");
        }
        assert!(meet(&acceptor, ServerTls::VerifyCa, itself.clone(), "db1").await.is_ok());
        assert!(meet(&acceptor, ServerTls::VerifyIdentity, itself, "db1").await.is_err());
    }
}
