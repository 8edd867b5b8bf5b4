//! A witness that replays, behind something that cuts what it fetches short, or alters it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use disbursement_api::pipeline::Settings;
use records::witnessing::Statement;
use tests::binary::safeconduct;
use tests::cluster::scratch;
use tests::http::{call, post_raw};
use tests::service::Service;
use tests::world::World;
use translog::witness::AddCheckpoint;

use super::{Witness, evidence, home};
use crate::bad_input::bank;

/// What is answered instead of a bundle, in an answer that is whole by the rules of HTTP.
type Instead = Arc<Mutex<Option<Vec<u8>>>>;

/// Hands a request on to the service, and its answer back.
fn pass(mut stream: TcpStream, service: &str, instead: &Instead) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let answer = if method == "POST" {
        let mut body = vec![0; headers["content-length"].parse().unwrap()];
        reader.read_exact(&mut body)?;
        post_raw(&format!("{service}{path}"), std::str::from_utf8(&body).unwrap())
    } else {
        let signed = ["signature", "signature-input"];
        let headers: Vec<(&str, &str)> =
            signed.iter().filter_map(|name| Some((*name, headers.get(*name)?.as_str()))).collect();
        call("GET", &format!("{service}{path}"), &headers)
    };
    let instead = instead.lock().unwrap().clone().filter(|_| path.starts_with("/v1/bundle"));
    let bytes = instead.unwrap_or(answer.bytes);
    write!(stream, "HTTP/1.1 {} -\r\n", answer.status)?;
    for name in ["content-type", "behind"] {
        if let Some(value) = answer.headers.get(name) {
            write!(stream, "{name}: {value}\r\n")?;
        }
    }
    write!(stream, "content-length: {}\r\nconnection: close\r\n\r\n", bytes.len())?;
    stream.write_all(&bytes)
}

/// A ledger of which the service is reached by what stands before it.
fn behind(instead: &Instead) -> World {
    let mut world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    world.service.stop();
    let settings = Settings::default();
    world.service =
        Service::adjusted(&world.database, &world.register, &world.clock, settings, |interface| {
            interface.public_url.clone_from(&url);
        });
    world.url = url;
    let (service, instead) = (world.service.url.clone(), Arc::clone(instead));
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let _ = pass(stream, &service, &instead);
        }
    });
    world
}

#[test]
fn a_bundle_that_broke_off_refutes_nothing() {
    safeconduct();
    let instead = Instead::default();
    let world = behind(&instead);
    let dir = scratch("broken-off").join("ada");
    home(&world, &dir);
    let witness = Witness::start(&dir, Statement::Replayed);
    let replayed = world.basis().size.0;
    world.ok("dora", bank("g1"));
    let request = AddCheckpoint { old: 0, proof: vec![], note: world.get("ada", "/v1/checkpoint").text };

    // What it fetches now, and every way in which that can end too early: in the header, in a balance, in a record, and after each
    // line but the last.
    let part = world.get("ada", &format!("/v1/bundle?from={replayed}")).text;
    let ends = part.match_indices('\n').map(|(at, _)| at + 1);
    let ends: Vec<usize> = ends.take_while(|end| *end < part.len()).collect();
    assert!(ends.len() >= 2, "{part}");
    for end in [0].into_iter().chain(ends.iter().flat_map(|end| [*end, end + 9])) {
        *instead.lock().unwrap() = Some(part.as_bytes()[..end].to_vec());
        let (status, said) = witness.ask(&request).unwrap();
        assert_eq!((status, said.as_str()), (503, "the witness cannot cosign now\n"), "{end}");
    }
    assert!(!dir.join("evidence").exists(), "{:?}", evidence(&dir));
    *instead.lock().unwrap() = None;
    assert!(witness.cosigns(&request), "it tries again");

    // What is altered is refuted, and is an alarm.
    let replayed = world.basis().size.0;
    world.ok("dora", bank("g2"));
    let note = world.get("ada", "/v1/checkpoint").text;
    let path = format!("/v1/proofs/consistency?from={replayed}&to={}", world.basis().size.0);
    let proof = serde_json::from_value(world.get("ada", &path).json["hashes"].clone()).unwrap();
    let request = AddCheckpoint { old: replayed, proof, note };
    let mut altered = world.get("ada", &format!("/v1/bundle?from={replayed}")).text.into_bytes();
    let last = altered.len() - 20;
    altered[last] ^= 1;
    *instead.lock().unwrap() = Some(altered);
    let (status, said) = witness.ask(&request).unwrap();
    assert_eq!(status, 422, "{said}");
    assert!(said.starts_with("the replay refutes the log"), "{said}");
    assert_eq!(evidence(&dir).len(), 2, "what was cosigned, and what was shown");
    *instead.lock().unwrap() = None;
    assert!(witness.cosigns(&request));
}
