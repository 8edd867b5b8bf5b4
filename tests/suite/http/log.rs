//! The log as its readers get it: the bundle line by line, records, and proofs that lead to the signed head.

use ledger::currency::Currency;
use records::bundle::{BalanceLine, Header};
use records::scalar::Integer;
use records::{Kind, Record};
use serde_json::Value;
use signing::canonical;
use signing::digest::Digest;
use tests::world::{World, get_unsigned, id};
use translog::proof::{verify_consistency, verify_inclusion};
use translog::tree::Frontier;

use super::happen;
use crate::evidence::checkpoint;

fn hashes(proof: &Value) -> Vec<Digest> {
    serde_json::from_value(proof["hashes"].clone()).unwrap_or_else(|_| panic!("{proof}"))
}

#[test]
fn the_log_proves_itself() {
    let world = World::new();
    happen(&world);
    let note = world.get("south", "/v1/checkpoint");
    assert_eq!(note.headers["content-type"], "text/plain; charset=utf-8");
    let head = checkpoint(&note.text);

    // The bundle, line by line.
    let bundle = world.get("ada", "/v1/bundle");
    assert_eq!(bundle.headers["content-type"], "application/x-ndjson");
    let mut lines = bundle.text.split_terminator('\n');
    let header: Header = canonical::decode(lines.next().unwrap().as_bytes()).unwrap();
    assert_eq!(checkpoint(&header.checkpoint), head);
    assert_eq!((header.records.0, header.balances_at.0), (head.size, head.size));
    let balances: Vec<BalanceLine> = lines
        .by_ref()
        .take(header.balances.0.try_into().unwrap())
        .map(|line| canonical::decode(line.as_bytes()).unwrap())
        .collect();
    assert!(balances.is_sorted_by(|a, b| a.in_order(b).is_lt()));
    let usd: Currency = id("USD");
    assert!(balances.iter().any(|line| line.key.currency == usd && line.balance.held.is_positive()));
    let records: Vec<Record> = lines.map(|line| Record::parse_leaf(line.as_bytes()).unwrap()).collect();
    assert_eq!(records.len() as u64, head.size);
    assert_eq!((records[0].digest(), world.ledger), (header.ledger, header.ledger));
    let mut tree = Frontier::new();
    let mut roots = vec![tree.root()];
    for record in &records {
        tree.append(record.leaf_hash());
        roots.push(tree.root());
    }
    assert_eq!(tree.root(), head.root);

    let size = head.size;
    for position in [0, 1, size / 2, size - 1] {
        let path = format!("/v1/proofs/inclusion?position={position}&size={size}");
        let proof = world.get("north", &path).json;
        let leaf = serde_json::from_value(proof["leaf_hash"].clone()).unwrap();
        verify_inclusion(leaf, position, size, &hashes(&proof), head.root).unwrap();
        let record = world.get("ada", &format!("/v1/records/{position}"));
        assert_eq!(record.text.as_bytes(), records[position as usize].leaf());
    }
    for from in [1, size / 3, size] {
        let proof = world.get("karl", &format!("/v1/proofs/consistency?from={from}&to={size}")).json;
        verify_consistency(from, roots[from as usize], size, head.root, &hashes(&proof)).unwrap();
    }
    let founding = world.get("north", "/v1/founding");
    assert_eq!(founding.text.as_bytes(), records[0].leaf());
    let service = get_unsigned(&world.url, "/v1/service").json;
    assert_eq!(service["ledger"], header.ledger.to_string());
    // Parts: from every position where a group begins, from the end, and from no other.
    let is_group = |position: u64| records[position as usize].kind() == Kind::Group;
    for from in 0..=size {
        let part = world.get("ada", &format!("/v1/bundle?from={from}"));
        if from > 0 && from < size && !is_group(from) {
            assert_eq!((part.status, part.code()), (404, "part_out_of_range"), "{from}");
            continue;
        }
        let (first, rest) = part.text.split_once('\n').unwrap();
        let named: Header = canonical::decode(first.as_bytes()).unwrap();
        let expected = Header { from: Some(Integer(from)).filter(|_| from > 0), ..header.clone() };
        assert_eq!(named, expected);
        let whole = bundle.text.split_terminator('\n').skip(1).enumerate();
        let balances = balances.len();
        let kept = whole.filter(|(line, _)| *line < balances || *line >= balances + from as usize);
        assert!(rest.split_terminator('\n').eq(kept.map(|(_, line)| line)), "{from}");
    }
    // One more than there is.
    for (path, status, code) in [
        (format!("/v1/records/{size}"), 404, "record_not_found"),
        (format!("/v1/proofs/inclusion?position=0&size={}", size + 1), 404, "proof_out_of_range"),
        (format!("/v1/proofs/consistency?from=1&to={}", size + 1), 404, "proof_out_of_range"),
        (format!("/v1/proofs/consistency?from={size}&to={}", size - 1), 404, "proof_out_of_range"),
        ("/v1/proofs/consistency?from=1&to=1&to=1".to_owned(), 400, "query_invalid"),
        ("/v1/bundle?x".to_owned(), 400, "query_invalid"),
        ("/v1/bundle?from=01".to_owned(), 400, "query_invalid"),
        (format!("/v1/bundle?from={}", size + 1), 404, "part_out_of_range"),
    ] {
        let answer = world.get("ada", &path);
        assert_eq!((answer.status, answer.code()), (status, code), "{path}");
    }
}
