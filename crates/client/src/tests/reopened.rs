//! What a home holds to after its log was reopened: nothing that is lost, and nothing of an earlier origin as if it were of the
//! present one.

use records::governance::{Act, Concurrence, Policy, Proposal};
use records::scalar::Integer;
use records::witnessing::{Statement, Witness, Witnessing};
use records::{Basis, Body, Verified};
use signing::digest::Digest;
use translog::checkpoint::Checkpoint;
use translog::cosignature::cosign;
use translog::proof::root;

use super::fake::*;
use super::reopening::{NEW, act, acts, enrolment, receipt, reopen, signed};
use crate::home::{CHECKPOINT, LEDGER, RECEIPTS};
use crate::receipt::Receipt;
use crate::witnessing::Demanded;
use crate::{Client, Error};

const WITNESS: &str = "witness.example/ada";

fn naming(witness: &str) -> Act {
    let witness = Witness {
        key: key(9).public().clone(),
        name: witness.parse().unwrap(),
        statement: Statement::Consistent,
    };
    let witnessing = Witnessing { replays: Integer(0), threshold: Integer(1), witnesses: vec![witness] };
    Act::Policy { policy: Policy { witnessing: Some(witnessing), ..policy() } }
}

/// Receipts under the present head.
fn receipts(fake: &Fake, records: &[Verified]) -> Vec<Receipt> {
    fake.with(|log| {
        let positions: Vec<u64> = records.iter().map(|record| log.take(record.envelope())).collect();
        records.iter().zip(positions).map(|(record, position)| receipt(log, record, position)).collect()
    })
}

fn keep(client: &Client, receipt: &Receipt) {
    let name = format!("{RECEIPTS}/{}.json", receipt.envelope.digest());
    client.home().write_json(&name, receipt).unwrap();
}

/// A log that lost what came after `continued` records, and the heads of before.
struct Reopened {
    fake: Fake,
    place: Place,
    /// Receipts of a record that is left, and of what is lost: a record, and an act that names witnesses.
    left: Receipt,
    lost: Vec<Receipt>,
    continued: Basis,
    cited: Checkpoint,
    /// What `safeconduct reopen` wrote.
    acts: Vec<Receipt>,
}

impl Reopened {
    fn new() -> Reopened {
        let (fake, place) = (service(), Place::new());
        let client = joined(&fake, &place);
        let [first, second] = &banks(2)[..] else { unreachable!() };
        let left = receipts(&fake, &[signed(1, first.clone())]).remove(0);
        let kept = fake.with(|log| log.hashes.clone());
        let continued = Basis { root: root(kept.size(), &kept).unwrap(), size: Integer(kept.size()) };
        let [proposal, concurrence] = act(naming("witness.example/lost"));
        let lost = receipts(&fake, &[signed(1, second.clone()), proposal, concurrence]);
        for receipt in [&left].into_iter().chain(&lost) {
            keep(&client, receipt);
        }
        client.accept_witnesses(&lost[1..]).unwrap();
        assert!(demanded(&client).witnessing.is_some());
        let cited = client.refresh().unwrap();

        let acts = fake.with(|log| {
            let acts = acts(log, kept.size(), &cited.note.unwrap());
            log.hashes = kept;
            reopen(log, &acts)
        });
        Reopened { fake, place, left, lost, continued, cited: cited.checkpoint, acts }
    }

    /// The home, which has followed it.
    fn followed(&self) -> Client {
        again(&self.fake, &self.place).follow_reopening(&self.acts, &[]).unwrap();
        again(&self.fake, &self.place)
    }
}

fn demanded(client: &Client) -> Demanded {
    Demanded::read(client.home(), client.ledger()).unwrap()
}

fn refused<T: std::fmt::Debug>(result: Result<T, Error>, says: &str) {
    let error = result.unwrap_err().to_string();
    assert!(error.contains(says), "{error}");
}

/// Not only the head that the home itself kept: a witness in it may have cosigned a newer one.
#[test]
fn a_reopening_accounts_for_what_a_witness_cosigned() {
    let reopened = Reopened::new();
    let (cited, left) = (&reopened.cited, &reopened.continued);
    let head = |size: u64, root: Digest| Checkpoint { origin: ORIGIN.to_owned(), size, root };
    let client = again(&reopened.fake, &reopened.place);
    let read = |name: &str| std::fs::read(client.home().path(name)).unwrap();
    let before = [read(LEDGER), read(CHECKPOINT)];
    for (newer, says) in [
        (head(cited.size + 1, Digest::of("newer")), "newer than, or another than"),
        (head(cited.size, Digest::of("another")), "newer than, or another than"),
        (head(left.size.0, Digest::of("another")), "the ledger was forked"),
    ] {
        refused(client.follow_reopening(&reopened.acts, &[cited.clone(), newer]), says);
        assert!([read(LEDGER), read(CHECKPOINT)] == before, "it follows all the same");
    }
    let further = [cited.clone(), head(left.size.0, left.root), head(cited.size - 1, Digest::of("lost"))];
    client.follow_reopening(&reopened.acts, &further).unwrap();
    assert_eq!(again(&reopened.fake, &reopened.place).kept().unwrap().checkpoint.origin, NEW);
}

#[test]
fn what_is_lost_is_named_and_not_used() {
    let reopened = Reopened::new();
    let client = again(&reopened.fake, &reopened.place);
    let followed = client.follow_reopening(&reopened.acts, &[]).unwrap();
    let named: Vec<(u64, Digest)> = followed.lost.iter().map(|lost| (lost.position, lost.digest)).collect();
    let lost = reopened.lost.iter().map(|receipt| (receipt.position.0, receipt.envelope.digest()));
    assert_eq!(named, lost.collect::<Vec<_>>());

    // The act that named witnesses demands nothing any more, and is not taken again.
    let client = again(&reopened.fake, &reopened.place);
    assert_eq!(demanded(&client), Demanded { witnessing: None, position: 0 });
    refused(client.accept_witnesses(&reopened.lost[1..]), "a record in it is lost");
    // A later one counts, although the lost one stood further on.
    reopened.fake.with(|log| log.grow(1));
    let later = receipts(&reopened.fake, &act(naming(WITNESS)));
    client.accept_witnesses(&later).unwrap();
    assert_eq!(demanded(&client).witnessing.unwrap().witnesses[0].name.as_str(), WITNESS);

    // What is left comes under a cosigned checkpoint of the new origin, and what is lost stays as it is.
    let note = reopened.fake.with(|log| log.note());
    reopened.fake.with(|log| log.cosigned = Some(cosigned(&note)));
    let refreshed = client.refresh_receipts().unwrap();
    assert_eq!((refreshed.refreshed, refreshed.waiting, refreshed.lost), (1, 0, 3));
    let kept = |receipt: &Receipt| -> Receipt {
        let name = format!("{RECEIPTS}/{}.json", receipt.envelope.digest());
        client.home().read_json(&name).unwrap().unwrap()
    };
    assert!(kept(&reopened.left).checkpoint.starts_with(NEW));
    assert!(reopened.lost.iter().all(|receipt| kept(receipt) == *receipt));
}

fn cosigned(note: &str) -> String {
    format!("{note}{}", cosign(note, WITNESS, &key(9), 7).unwrap())
}

#[test]
fn a_cosigned_checkpoint_of_an_earlier_origin_is_none_of_the_present() {
    let reopened = Reopened::new();
    let client = reopened.followed();
    client.accept_witnesses(&receipts(&reopened.fake, &act(naming(WITNESS)))).unwrap();
    let present = client.refresh().unwrap();
    let (cited, left) = (&reopened.cited, &reopened.continued);
    let ask = |origin: &str, size: u64, root: Digest| {
        reopened.fake.with(|log| log.cosigned = Some(cosigned(&log.sign(origin, size, root))));
        client.cosigned()
    };
    // Witnesses did cosign it, of records that are lost.
    refused(ask(ORIGIN, cited.size, cited.root), "covers records that are lost");
    refused(ask(ORIGIN, left.size.0 + 1, Digest::of("lost")), "covers records that are lost");
    refused(ask(ORIGIN, left.size.0, Digest::of("fork")), "not of the log that this machine verified");
    refused(
        ask("ledger.example/other", left.size.0, left.root),
        "under another origin, ledger.example/other",
    );
    // One that the new log begins with holds as what it is; the present one stays what it was.
    let (earlier, _) = ask(ORIGIN, left.size.0, left.root).unwrap();
    assert_eq!((earlier.origin.as_str(), earlier.size), (ORIGIN, left.size.0));
    assert_eq!(client.kept().unwrap(), present);
}

/// A custodian's key that was enrolled since the founding counts where receipts of its enrolment come first.
#[test]
fn witnesses_are_named_by_who_was_enrolled_since() {
    let (fake, place) = (service(), Place::new());
    let client = joined(&fake, &place);
    let [enrols, concurs] = act(enrolment("boris", 5));
    let names = signed(1, Body::Proposal(Proposal { act: naming(WITNESS) }));
    let by_boris = signed(5, Body::Concurrence(Concurrence { proposal: names.digest() }));
    let receipts = receipts(&fake, &[enrols, concurs, names, by_boris]);
    refused(client.accept_witnesses(&receipts[2..]), "by 1 of the custodians");
    refused(client.accept_witnesses(&receipts[1..]), "no enrolment");
    refused(client.accept_witnesses(&receipts[..2]), "no receipt in it is of a proposal of a policy");
    let accepted = client.accept_witnesses(&receipts).unwrap();
    assert_eq!(accepted.position, receipts[3].position.0);
    assert_eq!(demanded(&client), accepted);
}
