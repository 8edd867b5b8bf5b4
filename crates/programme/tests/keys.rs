//! The life of a key: its delay, its expiry, a spare that waits and is activated, its end.

use crate::life::lives;
use crate::world::World;

/// Each state of a key, how it gets there, and what comes of it: it signs, it activates itself, it is replaced.
#[test]
fn a_key_in_every_state_meets_every_use() {
    let states = [
        ("waits for its delay", "wait 59m", ["key_not_yet_valid"; 3]),
        ("a spare that waits", "wait 1h", ["key_spare", "ok", "ok"]),
        ("an activated spare", "wait 1h ; dir1 activate key=s", ["ok", "key_not_spare", "ok"]),
        ("vetoed", "aud1 veto e ; wait 1h", ["key_revoked", "key_revoked", "act_invalid"]),
        (
            "revoked",
            "wait 1h ; c1 revoke s as=r ; c2 concur r ; wait 1h",
            ["key_revoked", "key_revoked", "act_invalid"],
        ),
        (
            "revoked, not yet in force",
            "wait 1h ; c1 revoke s as=r ; c2 concur r",
            ["key_spare", "ok", "act_invalid"],
        ),
        (
            "replaced",
            "wait 1h ; dir1 activate key=s2 replaces=s",
            ["key_revoked", "key_revoked", "act_invalid"],
        ),
        ("expired", "wait 2h", ["key_expired", "key_expired", "ok"]),
        (
            "expired after its activation",
            "wait 1h ; dir1 activate key=s ; wait 1h",
            ["key_expired", "key_expired", "ok"],
        ),
    ];
    for (state, script, [signs, activates, is_replaced]) in states {
        let mut world = World::funded();
        world.run("c1 enrol dir1 roles=director spares=s,s2 expires=2030-01-01T03:00:00Z as=e ; c2 concur e");
        world.run(script);
        println!("a key that is: {state}");
        for (line, outcome) in [("dir1 register a9 key=s", signs), ("dir1 activate key=s", activates)] {
            world.fork().run(&format!("{line} -> {outcome}"));
        }
        world.run("wait 1h ; c1 enrol dir1 roles=director spares=last as=l ; c2 concur l ; wait 1h");
        // By then the first enrolment's keys have expired, which does not keep them from being ended.
        let outcome = if state == "waits for its delay" { "ok" } else { is_replaced };
        world.run(&format!("dir1 activate key=last replaces=s since=1 -> {outcome}"));
        world.finish();
    }
}

/// The second's rule of a key's end holds of its expiry: valid before it, and at it no more.
#[test]
fn a_key_expires_at_a_second_and_takes_back_what_it_signed() {
    lives(
        "
        c1    enrol app1 roles=approver keys=short spares=also expires=2030-01-01T03:00:00Z as=e ; c2 concur e ; wait 1h
        prep1 request d1 c-1 bonus 100000.00 f1 ; app1 approve d1 key=short
        prep1 request d2 c-2 bonus 100000.00 f1 ; app1 approve d2 key=short ; app2 approve d2
        wait  3599s
        app1  reject d1 key=also             -> key_spare
        app1  approve d1 key=short           -> already_approved
        wait  1s
        app1  approve d1 key=short           -> key_expired
        app1  activate key=also              -> key_expired
        app2  approve d1
        is    d1 requested
        pay1  release d2 b1                  -> approvals_void
        app1  approve d1
        is    d1 due
        ",
    );
}

/// What a stolen key had signed no longer counts as soon as the owner's spare has ended it, whatever it was for.
#[test]
fn an_activation_ends_a_key_at_once_and_for_everything() {
    lives(
        "
        c1    set-policy receipt_persons=2 as=p ; c2 concur p ; wait 1h
        c1    enrol app1 roles=approver spares=a as=e1 ; c2 concur e1
        c1    enrol rec1 roles=reconciler spares=r as=e2 ; c2 concur e2
        c1    enrol c3 roles=custodian spares=c as=e3 ; c2 concur e3 ; wait 1h
        prep1 request d1 c-1 bonus 100000.00 f1 ; app1 approve d1
        rec1  custody h1 cust 700.00 as=custody
        c3    set-policy gap_s=5 as=q

        app1  activate key=a replaces=app1 since=3
        rec1  activate key=r replaces=rec1
        c3    activate key=c replaces=c3
        app1  approve d1                     -> key_revoked
        app2  approve d1
        is    d1 requested
        app1  approve d1 key=a
        is    d1 due
        rec2  countersign custody
        see   h1 owner-claim=0
        rec1  countersign custody key=r
        see   h1 owner-claim=700
        c1    concur q
        c1    set-policy gap_s=6             -> ok
        c3    concur q key=c
        c1    set-policy gap_s=7             -> act_pending

        c1    revoke a as=v ; c2 concur v ; wait 1h
        app1  approve d1 key=a               -> key_revoked
        ",
    );
}

/// A spare activates itself also where its owner holds no role, and gives him none.
#[test]
fn an_activation_takes_no_role_and_gives_none() {
    lives(
        "
        c1    enrol x roles= keys=x spares=x2 as=e ; c2 concur e ; wait 1h
        x     activate key=x2
        x     register a9 key=x2             -> role_missing
        ",
    );
}
