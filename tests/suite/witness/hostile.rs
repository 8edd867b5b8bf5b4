//! What somebody sends who can reach a witness, and what it makes of that.

use super::*;

/// The same note with one line more, by nobody.
fn padded(request: &AddCheckpoint, n: u64) -> AddCheckpoint {
    let line = cosign(&request.note, "nobody.example", &key(&n.to_string()), n).unwrap();
    AddCheckpoint { note: format!("{}{line}", request.note), ..request.clone() }
}

#[test]
fn evidence_of_a_fork_is_not_crowded_out() {
    safeconduct();
    let world = World::new();
    let dir = scratch("crowded").join("ada");
    home(&world, &dir);
    let (histories, size) = Histories::of(&world, 100);
    let witness = Witness::start(&dir, Statement::Consistent);
    assert!(witness.cosigns(&histories.request(0, 0, size)));
    assert!(witness.cosigns(&histories.request(0, size, size + 10)));
    let last = size + 10;
    let refused = |request: &AddCheckpoint| assert_eq!(witness.ask(request).unwrap().0, 422);
    let wrong =
        |to: u64| AddCheckpoint { proof: vec![Digest::of("wrong")], ..histories.request(0, last, to) };
    for n in 0..70 {
        // The very head that was cosigned, and one head in many notes.
        refused(&padded(&wrong(last), n));
        refused(&padded(&wrong(last + 1), n));
        assert_eq!(witness.ask(&padded(&histories.request(1, last, last), n)).unwrap().0, 409);
    }
    let kept = evidence(&dir);
    let unproven = kept.iter().filter(|name| name.contains("-unproven-")).count();
    assert_eq!((kept.len(), unproven), (3, 1), "{kept:?}");
    // As many heads as there are, each with a wrong proof. A fork is printed where it is not kept.
    for to in 2..80 {
        refused(&wrong(last + to));
    }
    assert_eq!(evidence(&dir).len(), 2 + 64);
    let fork = histories.request(1, last, last + 80);
    refused(&fork);
    let said = fs::read_to_string(dir.with_extension("log")).unwrap();
    assert!(said.contains(&fork.note), "{said}");
}

/// Whoever hands the note on may add lines with the name of a witness, and no signature by it or one of another time.
#[test]
fn lines_of_others_do_not_make_a_replaying_witness_refute_the_log() {
    safeconduct();
    let witness = records::witnessing::Witness {
        key: key("a").public().clone(),
        name: id("w/a"),
        statement: Statement::Replayed,
    };
    let witnessing = Witnessing { replays: Integer(1), threshold: Integer(1), witnesses: vec![witness] };
    let world = World::with_policy(Policy { witnessing: Some(witnessing), ..policy() });
    let dir = scratch("lines").join("ada");
    home(&world, &dir);
    let witness = Witness::start(&dir, Statement::Replayed);
    let earlier = world.get("ada", "/v1/checkpoint").text;
    for (fund, is_early) in [("g1", true), ("g2", false)] {
        // It cosigned nothing yet.
        let old = if is_early { 0 } else { world.basis().size.0 };
        world.ok("dora", bank(fund));
        let (note, size) = (world.get("ada", "/v1/checkpoint").text, world.basis().size.0);
        let proof = match old {
            0 => vec![],
            old => {
                let proof = world.get("ada", &format!("/v1/proofs/consistency?from={old}&to={size}"));
                serde_json::from_value(proof.json["hashes"].clone()).unwrap()
            }
        };
        let (of, at) = if is_early { (&note, 1) } else { (&earlier, 2_000_000_000) };
        let line = cosign(of, "w/a", &key("a"), at).unwrap();
        assert!(witness.cosigns(&AddCheckpoint { old, proof, note: format!("{note}{line}") }));
    }
    assert!(evidence(&dir).is_empty(), "{:?}", evidence(&dir));
}
