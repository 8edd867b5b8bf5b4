//! Clients that are slow, silent or many.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use disbursement_api::pipeline::Settings;
use tests::cluster::runtime;
use tests::http::submission;
use tests::wait::{LIMIT, until};
use tests::world::{World, get_unsigned, post_raw};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use super::{address, assert_refused, bank, service};

const SHORT: Duration = Duration::from_millis(500);

/// A connection that waits long, but not for ever.
fn connect(service: &tests::service::Service) -> TcpStream {
    let stream = TcpStream::connect(address(service)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// What there is to read until the other end closes, which must come.
fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = vec![];
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("it is not closed: {error}"),
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_head_that_does_not_arrive_is_not_waited_for() {
    let world = World::new();
    // There is one place: whoever has it keeps everybody out.
    let service = service(&world, Settings::default(), |limits| {
        limits.head_timeout = SHORT;
        limits.connections = 1;
        limits.connections_per_address = 1;
    });
    // It says nothing; it stops in the middle; it sends a line now and then, for ever.
    for beginning in ["", "GET /healthz HTT", "GET /healthz HTTP/1.1\r\nhost: x\r\n"] {
        let mut stream = connect(&service);
        stream.write_all(beginning.as_bytes()).unwrap();
        let mut dripping = stream.try_clone().unwrap();
        let drips = thread::spawn(move || {
            while dripping.write_all(b"a: b\r\n").is_ok() {
                thread::sleep(SHORT / 5);
            }
        });
        if beginning.ends_with('\n') {
            rest(&mut stream);
        } else {
            assert!(!rest(&mut stream).contains("200 OK"));
        }
        drop(stream);
        drips.join().unwrap();
    }
    // An idle one gives its place up too, after its answer.
    let mut idle = connect(&service);
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    assert!(rest(&mut idle).starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(get_unsigned(&service.url, "/healthz").status, 200);
}

#[test]
fn a_head_has_a_size() {
    let world = World::new();
    let service = service(&world, Settings::default(), |limits| limits.head_bytes = 8192);
    for (bytes, expected) in [(6000, "HTTP/1.1 200 "), (9000, "HTTP/1.1 431 ")] {
        let mut stream = connect(&service);
        let head = format!(
            "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\na: {}\r\n\r\n",
            "b".repeat(bytes)
        );
        stream.write_all(head.as_bytes()).unwrap();
        let answer = rest(&mut stream);
        assert!(answer.starts_with(expected), "{bytes}: {answer}");
    }
}

#[test]
fn a_client_that_reads_no_answer_is_cut_off() {
    let world = World::new();
    let service = service(&world, Settings::default(), |limits| {
        limits.write_timeout = SHORT;
        limits.connections = 1;
        limits.connections_per_address = 1;
    });
    let mut deaf = connect(&service);
    deaf.set_write_timeout(Some(SHORT)).unwrap();
    // It asks and asks, until there is no room left for answers, and so none for questions.
    let asks = "GET /v1/service HTTP/1.1\r\nhost: x\r\n\r\n".repeat(1000);
    let mut asked = 0;
    while deaf.write_all(asks.as_bytes()).is_ok() {
        asked += 1000;
        assert!(asked < 1_000_000, "it is never full");
    }
    // Its place is free for another, although it is still there.
    assert_eq!(get_unsigned(&service.url, "/healthz").status, 200);
    let mut left = vec![0; 1 << 16];
    until("the end", || matches!(deaf.read(&mut left), Ok(0) | Err(_)));
}

#[test]
fn an_address_has_so_many_connections() {
    let world = World::new();
    let service = service(&world, Settings::default(), |limits| limits.connections_per_address = 3);
    let to = address(&service);
    runtime().block_on(async {
        let from = async |address: &str| {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
            socket.connect(to).await.unwrap()
        };
        // Whether it is answered.
        let asks = async |stream: &mut tokio::net::TcpStream| {
            let mut first = [0];
            let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
            matches!(stream.read(&mut first).await, Ok(1))
        };
        let mut held = vec![];
        for _ in 0..3 {
            let mut stream = from("127.0.0.1").await;
            assert!(asks(&mut stream).await);
            held.push(stream);
        }
        assert!(!asks(&mut from("127.0.0.1").await).await);
        assert!(asks(&mut from("127.0.0.2").await).await);
        held.pop();
        let mut waited = 0;
        while !asks(&mut from("127.0.0.1").await).await {
            tokio::time::sleep(SHORT / 5).await;
            waited += 1;
            assert!(waited < 600, "its place does not become free");
        }
    });
}

#[test]
fn big_bodies_share_the_memory_and_leave_room_for_small_ones() {
    let world = World::new();
    let service = service(&world, Settings::default(), |limits| {
        limits.body_small_bytes = 10_000;
        limits.body_bytes = 100_000;
        limits.bodies_bytes = 100_000;
        limits.body_timeout = LIMIT;
    });
    let desk = world.at(&service.url);
    let url = format!("{}/v1/instructions", service.url);
    let one = submission(&[bank(&world, "b1")], "each");
    let padded = |bytes: usize| format!("{}{one}", " ".repeat(bytes - one.len()));
    let whole = padded(60_000);
    let head = format!(
        "POST /v1/instructions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        whole.len()
    );
    let (first, last) = whole.split_at(20_000);
    let begin = || {
        let mut slow = connect(&service);
        slow.write_all(head.as_bytes()).unwrap();
        slow.write_all(first.as_bytes()).unwrap();
        slow
    };
    let mut slow = begin();
    until("a refusal", || {
        slow.set_nonblocking(true).unwrap();
        // Where the other was there first, it was refused itself.
        if slow.peek(&mut [0]).is_ok() {
            slow = begin();
        }
        slow.set_nonblocking(false).unwrap();
        post_raw(&url, &padded(50_000)).status == 503
    });
    assert_refused(&post_raw(&url, &padded(50_000)), 503, "overloaded");
    desk.accept(&post_raw(&url, &padded(40_000)));
    desk.accept(&post_raw(&url, &padded(10_000)));
    slow.write_all(last.as_bytes()).unwrap();
    assert!(rest(&mut slow).contains("\"status\":\"accepted\""));
    desk.accept(&post_raw(&url, &padded(100_000)));
}
