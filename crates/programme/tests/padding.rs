//! Which groups end with pads, and with how many, as replay judges it.

use ledger::time::Timestamp;
use programme::RULES_VERSION;
use programme::replay::{Refuted, Replay};
use records::governance::{Acceptance, Publication};
use records::journal::{Group, Pad};
use records::scalar::Integer;
use records::{Basis, Body, Header, Payload, Record};
use signing::keys::SecretKey;
use translog::tree::Frontier;

use crate::world::{cast, id, instruction_id, secret};

/// A log whose founding, at midnight, has a publication of every hour and multiples of 4.
///
/// `g60` is a group 60 seconds after the last one, `c2` an acceptance by that custodian, `pad` the pad that belongs to the
/// group's hour; `pad-later`, `pad-here` and `pad-forged` have another time, position and key.
fn log(script: &str) -> Result<(), Refuted> {
    let mut founding = cast::founding();
    founding.body.policy.publication = Some(Publication { every_s: Integer(3600), multiple: Integer(4) });
    let mut now = founding.issued_at;
    let first = Record::sign(Payload::Founding(Box::new(founding)), &secret("c1")).unwrap();
    let (ledger, basis) = (first.digest(), Basis { root: first.leaf_hash(), size: Integer(1) });
    let mut frontier = Frontier::new();
    let mut replay = Replay::new(ledger);
    let mut push = |payload: Payload, key: &SecretKey, position: &mut u64| {
        let record = Record::sign(payload, key).unwrap();
        let root = frontier.root();
        frontier.append(record.leaf_hash());
        *position += 1;
        replay.push(&record, || root).map(|()| frontier.root())
    };
    let mut size = 0;
    let mut root = push(first.payload().clone(), &secret("c1"), &mut size)?;
    for word in script.split_whitespace() {
        let pad = |shift: u64, later_s: i64| {
            let hour = now.unix().div_euclid(3600) + 1;
            let public_from = Timestamp::from_unix(hour * 3600 + later_s).unwrap();
            Payload::Pad(Pad { ledger, position: Integer(size + shift), public_from })
        };
        let (payload, key) = match word {
            "pad" => (pad(0, 0), cast::record_key()),
            "pad-later" => (pad(0, 1), cast::record_key()),
            "pad-here" => (pad(1, 0), cast::record_key()),
            "pad-forged" => (pad(0, 0), secret("c1")),
            "c2" | "c3" => {
                let header = Header {
                    basis,
                    id: instruction_id(2),
                    issued_at: now,
                    key: secret(word).public().id(),
                    ledger,
                    not_after: now.plus(3600).unwrap(),
                    signer: id(word),
                };
                let body = Body::Acceptance(Acceptance {});
                (Payload::Instruction(Box::new(header), Box::new(body)), secret(word))
            }
            group => {
                let later_s = group.strip_prefix('g').and_then(|seconds| seconds.parse().ok()).expect(group);
                now = now.plus(later_s).unwrap();
                let (epoch, first, rules) =
                    (id("7000000000000000001/1"), Integer(size), Integer(RULES_VERSION));
                let group = Group { epoch, first, ledger, record_key: None, recorded_at: now, root, rules };
                (Payload::Group(group), cast::record_key())
            }
        };
        root = push(payload, &key, &mut size)?;
    }
    replay.finish().map(drop)
}

#[test]
fn the_first_group_of_a_period_ends_with_pads_at_a_multiple() {
    for row in "
        g1                                      | ok
        g1 g3598 c2 g1 pad                      | 6 pad_missing
        g1 g3598 c2 g1 pad pad pad              | ok
        g1 g3599 pad                            | ok
        g1 g3599 c2 pad pad pad pad             | ok
        g1 g3599 c2                             | 4 pad_missing
        g1 g3599 c2 pad pad pad                 | 7 pad_missing
        g1 g3599 c2 pad pad pad pad pad         | 8 pad_unexpected
        g1 g3599                                | 3 pad_missing
        g1 g3599 g1                             | 3 pad_missing
        g1 g3599 pad pad                        | 4 pad_unexpected
        g1 g3599 pad g3599 c2                   | ok
        g1 g3599 pad g3599 pad                  | 5 pad_unexpected
        g1 g3599 pad g3600 pad pad pad          | ok
        g1 g3599 pad g3600 pad pad g3600        | 7 pad_missing
        g1 g3599 pad g7200 pad pad pad          | ok
        g1 g3599 pad c2                         | 4 outside_group
        g1 g3599 c2 pad c3                      | 5 outside_group
        g3600 pad pad                           | ok
        pad                                     | 1 pad_unexpected
        g1 pad                                  | 2 pad_unexpected
        g1 g3599 pad-later                      | 3 pad_unexpected
        g1 g3599 pad-here                       | 3 pad_unexpected
        g1 g3599 pad-forged                     | 3 not_the_ledgers_key
    "
    .trim()
    .lines()
    {
        let (script, expected) = row.split_once('|').unwrap();
        let found = log(script).err();
        let found = found
            .map_or("ok".to_owned(), |Refuted { position, reason }| format!("{position} {}", reason.code()));
        assert_eq!(found, expected.trim(), "{script}");
    }
}
