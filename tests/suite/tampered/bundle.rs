//! A bundle of a real ledger, changed on its way: what is wrong is found in the record in which a byte changed, or in its
//! line if it is none. `FLIP_SEED` repeats a run.

use records::Body;
use tests::cluster::say;

use super::town;
use crate::choices::Choices;
use crate::evidence::{refuted, verified};

const FLIPS: u64 = 200;

#[test]
fn a_bundle_with_one_byte_changed_is_refuted() {
    let world = town();
    world.ok("boris", world.approval("d1"));
    world.ok("dora", world.approval("d1"));
    world.ok("anna", Body::Request(world.request("d2", "c2", "trip", "6000.00")));
    let bundle = world.bundle();
    verified(&bundle, world.ledger);

    let mut choices = Choices::from_env("FLIP_SEED");
    let mut bytes = bundle.into_bytes();
    // The lines of records are most of it: half of the changes go to what comes before them.
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let first_record: usize =
        text.lines().take_while(|line| !line.contains("payloadType")).map(|line| line.len() + 1).sum();
    for flip in 0..FLIPS {
        let end = if flip % 2 == 0 { first_record } else { bytes.len() };
        let at = choices.index(end);
        let bits = 1 + choices.below(255) as u8;
        bytes[at] ^= bits;
        let finding = refuted(&bytes, world.ledger);
        // Of a record, whatever the byte was; before the records there is no position, but where a count no longer says
        // where they begin.
        if at >= first_record {
            let position = text[first_record..at].matches('\n').count() as u64;
            assert_eq!(finding.position, Some(position), "byte {at}: {finding}");
        }
        if flip % 50 == 0 {
            say(&format!("byte {at}: {finding}"));
        }
        bytes[at] ^= bits;
    }
    for cut in 0..20 {
        let end = choices.index(bytes.len());
        refuted(&bytes[..end], world.ledger);
        if cut % 2 == 0 {
            let twice = [&bytes[..end], &bytes[end.saturating_sub(1)..]].concat();
            refuted(&twice, world.ledger);
        }
    }
    verified(&String::from_utf8(bytes).unwrap(), world.ledger);
}
